/*
 * options.h: what the command line says.  One table (options.c) of flags, from which --help follows.
 */
#ifndef POSTBACKD_OPTIONS_H
#define POSTBACKD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../extension/core/address.h"
#include "log.h"

#define OPTIONS_LIST_LIMIT 64

typedef enum Role
{
	ROLE_SERVE,
	ROLE_SEND
} Role;

/* Repeatable flags, bounded by OPTIONS_LIST_LIMIT. */
typedef struct CidrList
{
	PbCidr		items[OPTIONS_LIST_LIMIT];
	int			count;
} CidrList;

typedef struct PortList
{
	int			items[OPTIONS_LIST_LIMIT];
	int			count;
} PortList;

typedef struct Options
{
	Role		role;

	/* both roles */
	LogLevel	log_level;
	const char *metrics_listen; /* "ADDR:PORT" or "[V6]:PORT"; "" = none */

	/* serve */
	const char *listen;
	int			port;
	int			db_connections;
	int			batch;
	int			queue;
	int			max_connections;
	int			max_connections_per_address;
	int			request_timeout;	/* seconds */
	int			landing_life;	/* seconds */
	CidrList	trust_proxy;
	bool		reuse_port;

	/* send */
	CidrList	allow_egress;
	PortList	allow_port;
	const char *dns_server;		/* "ADDR:PORT,..."; NULL = those of /etc/resolv.conf */
	int			concurrency;
	int			per_host;
	int			lease;			/* seconds */
	int			poll_ms;
	int			metrics_callbacks;
	const char *sender;			/* never NULL after parsing: "host:pid" by default */
} Options;

typedef enum OptionsResult
{
	OPTIONS_RUN,
	OPTIONS_DONE,				/* --help or --version was printed: exit 0 */
	OPTIONS_BAD					/* the mistake was told on stderr: exit 1 */
} OptionsResult;

/* Strings in *options point into argv or static storage. */
extern OptionsResult options_parse(int argc, char **argv, Options *options) __attribute__((warn_unused_result));

/* Splits "ADDR:PORT" / "[V6]:PORT"; false if it is neither. */
extern bool options_split_address(const char *text, char *address, size_t address_size, int *port)
			__attribute__((warn_unused_result));

/* Is the address in one of the ranges? */
extern bool cidr_list_contains(const CidrList *list, const PbAddress *address);

#endif							/* POSTBACKD_OPTIONS_H */

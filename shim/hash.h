/*
 * hash.h: the one hash of the daemon's tables, FNV-1a folded so that its low bits are good ones.
 */
#ifndef POSTBACKD_HASH_H
#define POSTBACKD_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t
hash_bytes(const void *data, size_t length)
{
	const unsigned char *bytes = data;
	uint32_t	hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash ^ hash >> 16;
}

#endif							/* POSTBACKD_HASH_H */

/*
 * sign.h: Standard Webhooks signatures ("v1": HMAC-SHA256 with a "whsec_" secret).
 *
 * The only part of the daemon that knows OpenSSL.
 */
#ifndef POSTBACKD_SIGN_H
#define POSTBACKD_SIGN_H

#include "../extension/core/slice.h"

typedef struct Signer Signer;

typedef enum SignResult
{
	SIGN_OK,
	SIGN_BAD_SECRET,			/* not "whsec_" and the base64 of 1 to SIGN_SECRET_MAX bytes */
	SIGN_NO_ROOM,				/* the output is too small */
	SIGN_FAILED					/* the crypto library refused */
} SignResult;

#define SIGN_SECRET_MAX 128

/* Room that one signature takes: a separating space, "v1," and 44 base64 characters. */
#define SIGN_ROOM 48

/* What is signed is "id.timestamp.content". */
typedef struct SignMessage
{
	PbSlice		id;				/* webhook-id */
	int64_t		timestamp;		/* webhook-timestamp, unix seconds */
	PbSlice		content;		/* the body; for a GET the request target as sent */
} SignMessage;

/* NULL if the crypto library cannot do HMAC-SHA256. */
extern Signer *signer_create(void) __attribute__((warn_unused_result));
extern void signer_destroy(Signer *signer);

/*
 * Appends the value of the webhook-signature header: one "v1,BASE64" per
 * secret, in their order, separated by a space.  On an error, what was
 * appended is to be thrown away.
 */
extern SignResult sign_webhook(Signer *signer, const PbSlice *secrets, size_t count,
							   const SignMessage *message, PbOut *out) __attribute__((warn_unused_result));

#endif							/* POSTBACKD_SIGN_H */

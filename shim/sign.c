/*
 * sign.c: Standard Webhooks signatures.
 *
 * Knows nothing of deliveries: bytes in, header value out.  The MAC's
 * algorithm is fetched once, its context is reused for each signature.
 */
#include "sign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define MAC_SIZE 32
#define BASE64_OF_MAC 44

struct Signer
{
	EVP_MAC    *mac;
	EVP_MAC_CTX *context;
};

Signer *
signer_create(void)
{
	Signer	   *signer = calloc(1, sizeof(*signer));
	char		digest[] = "SHA256";
	OSSL_PARAM	params[2];

	if (signer == NULL)
		return NULL;
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[1] = OSSL_PARAM_construct_end();
	signer->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (signer->mac != NULL)
		signer->context = EVP_MAC_CTX_new(signer->mac);
	if (signer->context == NULL || EVP_MAC_CTX_set_params(signer->context, params) != 1)
	{
		signer_destroy(signer);
		return NULL;
	}
	return signer;
}

void
signer_destroy(Signer *signer)
{
	if (signer == NULL)
		return;
	EVP_MAC_CTX_free(signer->context);
	EVP_MAC_free(signer->mac);
	free(signer);
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	if (c == '/')
		return 63;
	return -1;
}

/* Standard base64; the padding may be missing but not wrong.  Returns the number of bytes, 0 if it is not base64. */
static size_t
base64_decode(PbSlice text, unsigned char *out, size_t cap)
{
	uint32_t	bits = 0;
	int			held = 0;
	size_t		len = 0;

	if (text.len % 4 == 0)
		for (int i = 0; i < 2 && text.len > 0 && text.data[text.len - 1] == '='; i++)
			text.len--;
	if (text.len % 4 == 1)
		return 0;
	for (size_t i = 0; i < text.len; i++)
	{
		int			digit = base64_digit(text.data[i]);

		if (digit < 0)
			return 0;
		bits = (bits << 6 | (uint32_t) digit) & 0xFFFFFF;
		held += 6;
		if (held < 8)
			continue;
		held -= 8;
		if (len == cap)
			return 0;
		out[len++] = (unsigned char) (bits >> held & 0xFF);
	}
	return len;
}

/* Returns the length of the key, 0 if the secret is malformed. */
static size_t
secret_key(PbSlice secret, unsigned char *key)
{
	static const char prefix[] = "whsec_";
	const size_t skip = sizeof(prefix) - 1;

	if (secret.len <= skip || memcmp(secret.data, prefix, skip) != 0)
		return 0;
	return base64_decode((PbSlice)
						 {
							 secret.data + skip, secret.len - skip
						 }, key, SIGN_SECRET_MAX);
}

static bool
mac_message(Signer *signer, const unsigned char *key, size_t key_len, const SignMessage *message,
			unsigned char *mac)
{
	EVP_MAC_CTX *context = signer->context;
	char		stamp[24];
	int			stamp_len = snprintf(stamp, sizeof(stamp), ".%" PRId64 ".", message->timestamp);
	size_t		mac_len;

	return EVP_MAC_init(context, key, key_len, NULL) == 1 &&
		EVP_MAC_update(context, (const unsigned char *) message->id.data, message->id.len) == 1 &&
		EVP_MAC_update(context, (const unsigned char *) stamp, (size_t) stamp_len) == 1 &&
		EVP_MAC_update(context, (const unsigned char *) message->content.data, message->content.len) == 1 &&
		EVP_MAC_final(context, mac, &mac_len, MAC_SIZE) == 1 && mac_len == MAC_SIZE;
}

static SignResult
sign_once(Signer *signer, PbSlice secret, const SignMessage *message, PbOut *out)
{
	unsigned char key[SIGN_SECRET_MAX];
	unsigned char mac[MAC_SIZE];
	unsigned char text[BASE64_OF_MAC + 1];
	size_t		key_len = secret_key(secret, key);
	bool		done = key_len > 0 && mac_message(signer, key, key_len, message, mac);

	OPENSSL_cleanse(key, sizeof(key));
	if (key_len == 0)
		return SIGN_BAD_SECRET;
	if (!done)
		return SIGN_FAILED;
	EVP_EncodeBlock(text, mac, MAC_SIZE);
	pb_out_bytes(out, "v1,", 3);
	pb_out_bytes(out, (const char *) text, BASE64_OF_MAC);
	return SIGN_OK;
}

SignResult
sign_webhook(Signer *signer, const PbSlice *secrets, size_t count, const SignMessage *message, PbOut *out)
{
	for (size_t i = 0; i < count; i++)
	{
		SignResult	result;

		if (i > 0)
			pb_out_char(out, ' ');
		result = sign_once(signer, secrets[i], message, out);
		if (result != SIGN_OK)
			return result;
	}
	return pb_out_fits(out) ? SIGN_OK : SIGN_NO_ROOM;
}

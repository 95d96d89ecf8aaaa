/*
 * cache.c: a hash table whose entries are also on a list, the one used last in front.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define SLOTS 16384				/* a power of 2 */

typedef struct Entry
{
	struct Entry *next_in_slot;
	struct Entry *newer;
	struct Entry *older;
	size_t		key_length;
	size_t		size;
	_Alignas(max_align_t) char value[]; /* then the key */
} Entry;

struct Cache
{
	int			most;
	size_t		most_bytes;
	int			count;
	size_t		bytes;
	Entry	   *newest;
	Entry	   *oldest;
	Entry	   *slots[SLOTS];
};

Cache *
cache_new(int most, size_t most_bytes)
{
	Cache	   *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	cache->most = most;
	cache->most_bytes = most_bytes;
	return cache;
}

static PbSlice
key_of(const Entry *entry)
{
	return (PbSlice) {entry->value + entry->size, entry->key_length};
}

/* What points to the entry of the key, or would. */
static Entry **
slot_of(Cache *cache, PbSlice key)
{
	Entry	  **slot = &cache->slots[hash_bytes(key.data, key.len) % SLOTS];

	while (*slot != NULL && !pb_slice_equal(key_of(*slot), key))
		slot = &(*slot)->next_in_slot;
	return slot;
}

static void
list_remove(Cache *cache, Entry *entry)
{
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		cache->newest = entry->older;
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	else
		cache->oldest = entry->newer;
}

static void
list_push(Cache *cache, Entry *entry)
{
	entry->newer = NULL;
	entry->older = cache->newest;
	if (cache->newest != NULL)
		cache->newest->newer = entry;
	else
		cache->oldest = entry;
	cache->newest = entry;
}

static void
entry_free(Cache *cache, Entry **slot)
{
	Entry	   *entry = *slot;

	*slot = entry->next_in_slot;
	list_remove(cache, entry);
	cache->count--;
	cache->bytes -= entry->key_length + entry->size;
	free(entry);
}

static void
remove_oldest(Cache *cache)
{
	entry_free(cache, slot_of(cache, key_of(cache->oldest)));
}

void *
cache_find(Cache *cache, PbSlice key)
{
	Entry	   *entry = *slot_of(cache, key);

	if (entry == NULL)
		return NULL;
	list_remove(cache, entry);
	list_push(cache, entry);
	return entry->value;
}

void *
cache_put(Cache *cache, PbSlice key, size_t size)
{
	Entry	   *entry;
	Entry	  **slot;

	cache_remove(cache, key);
	if (key.len + size > cache->most_bytes)
		return NULL;
	while (cache->count >= cache->most || cache->bytes + key.len + size > cache->most_bytes)
		remove_oldest(cache);
	entry = malloc(sizeof(*entry) + size + key.len);
	if (entry == NULL)
		return NULL;
	entry->key_length = key.len;
	entry->size = size;
	memcpy(entry->value + size, key.data, key.len);
	slot = slot_of(cache, key);
	entry->next_in_slot = NULL;
	*slot = entry;
	list_push(cache, entry);
	cache->count++;
	cache->bytes += key.len + size;
	return entry->value;
}

void
cache_remove(Cache *cache, PbSlice key)
{
	Entry	  **slot = slot_of(cache, key);

	if (*slot != NULL)
		entry_free(cache, slot);
}

int
cache_count(const Cache *cache)
{
	return cache->count;
}

void
cache_free(Cache *cache)
{
	if (cache == NULL)
		return;
	while (cache->count > 0)
		remove_oldest(cache);
	free(cache);
}

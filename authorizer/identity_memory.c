/* SPDX-License-Identifier: MIT */
#include "authorizer/identity_memory.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define NONE UINT32_MAX

struct place {
    uint8_t digest[SHA256_BYTES];
    uint32_t next; /* of the same bucket, or of the free ones */
    uint32_t newer, older;
    struct identity identity;
};

struct identity_memory {
    uint32_t bucket_mask;
    uint32_t *buckets;
    struct place *places;
    uint32_t free;
    uint32_t newest, oldest;
};

enum status
identity_memory_open(uint32_t entries, struct identity_memory **out, struct error *err)
{
    struct identity_memory *memory = calloc(1, sizeof(*memory));
    uint32_t buckets = 1;

    *out = NULL;
    while (buckets < entries)
        buckets *= 2;
    if (memory != NULL) {
        memory->buckets = malloc(buckets * sizeof(*memory->buckets));
        memory->places =
            calloc(entries, sizeof(*memory->places)); /* pages come when they are used */
    }
    if (memory == NULL || memory->buckets == NULL || memory->places == NULL) {
        identity_memory_close(memory);
        return error_set(err, STATUS_NO_MEMORY, "identities: out of memory");
    }
    memory->bucket_mask = buckets - 1;
    for (uint32_t i = 0; i < buckets; i++)
        memory->buckets[i] = NONE;
    for (uint32_t i = 0; i < entries; i++)
        memory->places[i].next = i + 1 < entries ? i + 1 : NONE;
    memory->newest = NONE;
    memory->oldest = NONE;
    *out = memory;
    return STATUS_OK;
}

void
identity_memory_close(struct identity_memory *memory)
{
    if (memory == NULL)
        return;
    free(memory->buckets);
    free(memory->places);
    free(memory);
}

void
identity_copy(struct identity *to, const struct identity *from)
{
    memcpy(to, from, offsetof(struct identity, claims) + from->claims_length);
}

static uint32_t *
bucket_of(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES])
{
    uint32_t bits;

    memcpy(&bits, digest, sizeof(bits)); /* of a SHA-256: as good as any hash of it */
    return &memory->buckets[bits & memory->bucket_mask];
}

static uint32_t
find(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES])
{
    uint32_t i = *bucket_of(memory, digest);

    while (i != NONE && !crypto_equal(memory->places[i].digest, digest, SHA256_BYTES))
        i = memory->places[i].next;
    return i;
}

static void
unlink_age(struct identity_memory *memory, uint32_t i)
{
    struct place *place = &memory->places[i];

    if (place->newer != NONE)
        memory->places[place->newer].older = place->older;
    else
        memory->newest = place->older;
    if (place->older != NONE)
        memory->places[place->older].newer = place->newer;
    else
        memory->oldest = place->newer;
}

static void
link_newest(struct identity_memory *memory, uint32_t i)
{
    struct place *place = &memory->places[i];

    place->newer = NONE;
    place->older = memory->newest;
    if (memory->newest != NONE)
        memory->places[memory->newest].newer = i;
    else
        memory->oldest = i;
    memory->newest = i;
}

static void
drop(struct identity_memory *memory, uint32_t i)
{
    uint32_t *link = bucket_of(memory, memory->places[i].digest);

    while (*link != i)
        link = &memory->places[*link].next;
    *link = memory->places[i].next;
    unlink_age(memory, i);
    memory->places[i].next = memory->free;
    memory->free = i;
}

const struct identity *
identity_memory_get(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES])
{
    uint32_t i = find(memory, digest);

    if (i == NONE)
        return NULL;
    if (memory->newest != i) {
        unlink_age(memory, i);
        link_newest(memory, i);
    }
    return &memory->places[i].identity;
}

void
identity_memory_put(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES],
                    const struct identity *identity)
{
    uint32_t i = find(memory, digest);

    if (i == NONE) {
        uint32_t *bucket = bucket_of(memory, digest);

        if (memory->free == NONE)
            drop(memory, memory->oldest);
        i = memory->free;
        memory->free = memory->places[i].next;
        memcpy(memory->places[i].digest, digest, SHA256_BYTES);
        memory->places[i].next = *bucket;
        *bucket = i;
        link_newest(memory, i);
    }
    if (&memory->places[i].identity != identity)
        identity_copy(&memory->places[i].identity, identity);
}

void
identity_memory_remove(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES])
{
    uint32_t i = find(memory, digest);

    if (i != NONE)
        drop(memory, i);
}

/* SPDX-License-Identifier: MIT */
/* JSON: parsing never crashes; what json_write makes of a tree parses again, to the same text. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

/* The longest that a byte becomes is "\u007f", and an object or array adds nothing. */
#define GROWTH 6

static char *
written(const struct json *root, size_t size)
{
    char *storage = malloc(size);
    struct buf out;

    assert(storage != NULL);
    buf_init(&out, storage, size);
    json_write(root, &out);
    assert(!buf_failed(&out));
    return storage;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root, *again;
    struct error err = { 0 };
    char *first, *second;
    enum status status = json_parse((const char *)data, size, &root, &err);

    fuzz_result(status == STATUS_OK);
    if (status != STATUS_OK) {
        assert(root == NULL && err.status == status && err.message[0] != '\0');
        return 0;
    }
    first = written(root, GROWTH * size + 1);
    assert(json_parse(first, strlen(first), &again, &err) == STATUS_OK);
    second = written(again, GROWTH * size + 1);
    assert(strcmp(first, second) == 0);
    free(second);
    free(first);
    json_free(again);
    json_free(root);
    return 0;
}

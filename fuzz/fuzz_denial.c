/* SPDX-License-Identifier: MIT */
/* The query of the deny responder, which any client of a CGI program can write: always a whole
 * denial, and never an allow. */
#include <assert.h>
#include <string.h>

#include "authorizer/answer.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define QUERY_MAX 16384
#define REQUEST_ID "req_0123456789abcdef01234567"

static char storage[ANSWER_SIZE];

/* The status of the answer, and what holds for each. */
static int
print_again(const struct denial_call *call, bool compat)
{
    static const char status[] = "Status: ";
    struct buf out;
    const char *text;

    buf_init(&out, storage, sizeof(storage));
    answer_denial_again(call, REQUEST_ID, compat, &out);
    assert(!buf_failed(&out));
    text = buf_text(&out);
    assert(strncmp(text, status, sizeof(status) - 1) == 0);
    text += sizeof(status) - 1;
    assert(text[0] == '4' || text[0] == '5');
    assert(strstr(text, "\r\n\r\n") != NULL);
    return (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char query[QUERY_MAX + 1];
    struct denial_call call = { .query = query };
    int status;

    if (size > QUERY_MAX)
        return 0;
    memcpy(query, data, size);
    query[size] = '\0';
    status = print_again(&call, false);
    fuzz_result(status != 503);
    call.redirect = "401";
    assert(print_again(&call, false) == status);
    (void)print_again(&call, true);
    call = (struct denial_call){ .text = query };
    (void)print_again(&call, false);
    return 0;
}

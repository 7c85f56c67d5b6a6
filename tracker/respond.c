/* SPDX-License-Identifier: MIT */
#include "tracker/respond.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define ANSWER_FIRST_SIZE 4096
#define HEAD_SIZE 1024

void
answer_clear(struct answer *answer)
{
    free(answer->body);
    *answer = (struct answer){ .http_status = 0 };
}

void
answer_reset(struct answer *answer)
{
    struct answer fresh = { .body = answer->body, .size = answer->size };

    if (fresh.size > ANSWER_KEEP_MAX) {
        free(fresh.body);
        fresh.body = NULL;
        fresh.size = 0;
    }
    *answer = fresh;
}

/* Room for `more` bytes behind what is there. */
static bool
answer_grow(struct answer *answer, size_t more)
{
    size_t size = answer->size > 0 ? answer->size : ANSWER_FIRST_SIZE;
    char *body;

    if (more > ANSWER_BODY_MAX - answer->length)
        return false;
    while (size - answer->length < more)
        size *= 2;
    if (size == answer->size)
        return true;
    body = realloc(answer->body, size);
    if (body == NULL)
        return false;
    answer->body = body;
    answer->size = size;
    return true;
}

void
answer_add(struct answer *answer, const void *bytes, size_t length)
{
    if (answer->failed || length == 0)
        return;
    if (!answer_grow(answer, length)) {
        answer->failed = true;
        return;
    }
    memcpy(answer->body + answer->length, bytes, length);
    answer->length += length;
}

void
answer_add_text(struct answer *answer, const char *text)
{
    answer_add(answer, text, strlen(text));
}

void
answer_add_buf(struct answer *answer, const struct buf *buf)
{
    if (buf_failed(buf))
        answer->failed = true;
    answer_add(answer, buf->data, buf->length);
}

void
answer_refuse(struct answer *answer, const struct refusal *refusal, const char *request_id)
{
    char storage[REFUSAL_ITEM_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    refusal_write(&text, refusal, request_id, false);
    answer->http_status = refusal->http_status;
    answer->content_type = NULL;
    answer->challenge = refusal->challenge;
    answer->retry_after_s = refusal->retry_after_s;
    answer->replayed = false;
    answer->length = 0;
    answer->failed = false;
    answer_add_buf(answer, &text);
}

/* The reason phrases of the statuses that are used here (RFC 9110). */
static const char *
reason_phrase(int http_status)
{
    switch (http_status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    default:
        return "Service Unavailable";
    }
}

static void
write_cors(struct buf *out, const struct answer *answer)
{
    if (answer->vary_origin)
        buf_add(out, "Vary: Origin\r\n");
    if (answer->allow_origin == NULL)
        return;
    buf_add(out, "Access-Control-Allow-Origin: ");
    buf_add_header_value(out, answer->allow_origin);
    buf_add(out, "\r\n");
    if (answer->allow_cookies)
        buf_add(out, "Access-Control-Allow-Credentials: true\r\n");
    if (answer->preflight)
        buf_add(out, "Access-Control-Allow-Methods: GET\r\n"
                     "Access-Control-Allow-Headers: Authorization\r\n"
                     "Access-Control-Max-Age: 600\r\n");
}

static void
write_head(struct buf *out, const struct answer *answer)
{
    buf_add_format(out, "Status: %d %s\r\n", answer->http_status,
                   reason_phrase(answer->http_status));
    buf_add_format(out, "Content-Type: %s\r\n",
                   answer->content_type != NULL ? answer->content_type : "application/json");
    buf_add(out, "Cache-Control: no-store\r\n");
    buf_add_format(out, "Content-Length: %zu\r\n", answer->length);
    if (answer->allow != NULL)
        buf_add_format(out, "Allow: %s\r\n", answer->allow);
    if (answer->challenge != NULL)
        buf_add_format(out, "WWW-Authenticate: %s\r\n", answer->challenge);
    if (answer->retry_after_s > 0)
        buf_add_format(out, "Retry-After: %lld\r\n", (long long)answer->retry_after_s);
    if (answer->replayed)
        buf_add(out, "Idempotent-Replayed: true\r\n");
    write_cors(out, answer);
    buf_add(out, "\r\n");
}

enum status
answer_send(struct answer *answer, struct request *request, const char *request_id, bool head,
            struct error *err)
{
    char storage[HEAD_SIZE];
    struct buf text;
    enum status status;

    if (answer->failed || answer->http_status == 0) {
        struct refusal refusal = { .retry_after_s = 1 };

        refusal_set(&refusal, 503, "store_unavailable",
                    "The answer could not be built; try again with the same idempotency key.");
        answer_refuse(answer, &refusal, request_id);
    }
    buf_init(&text, storage, sizeof(storage));
    write_head(&text, answer);
    if (buf_failed(&text) || answer->failed)
        return error_set(err, STATUS_NO_MEMORY, "the answer does not fit into memory");
    status = request_write(request, text.data, text.length, err);
    if (status == STATUS_OK && !head)
        status = request_write(request, answer->body, answer->length, err);
    return status;
}

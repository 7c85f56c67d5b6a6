/* SPDX-License-Identifier: MIT */
/* An answer of some web server: three digits, a line end, headers, an empty line, a body. Whatever
 * it is, only a denial with our header or challenge is taken for one. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/doctor_reading.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static void
check_reading(const struct http_answer *answer, const struct reading *reading)
{
    char text[64];

    assert(strlen(reading->code) < READING_WORD_SIZE);
    assert(strlen(reading->server_text) < READING_SERVER_SIZE);
    assert(strlen(reading->probe.role) < READING_WORD_SIZE);
    assert(reading->denied == 0 || (reading->denied >= 400 && reading->denied <= 599));
    assert((reading->kind == READING_NONE) == (answer->status == 0));
    if (answer->status >= 200 && answer->status < 300)
        assert(reading->kind == READING_OPEN);
    if (reading_is_denial(reading))
        assert(http_header_like(answer, "X-Spendgate-Status", 0, text, sizeof(text)) ||
               http_header_like(answer, "WWW-Authenticate", 0, text, sizeof(text)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_answer answer; /* too large for a stack */
    struct reading reading;
    const uint8_t *end;
    int64_t date_us;

    answer.status = 0;
    answer.headers_length = answer.body_length = 0;
    answer.headers[0] = answer.body[0] = '\0';
    for (int i = 0; i < 3 && size > 0 && *data >= '0' && *data <= '9'; i++, data++, size--)
        answer.status = answer.status * 10 + (*data - '0');
    if (size > 0) {
        data++;
        size--;
    }
    end = memmem(data, size, "\n\n", 2);
    answer.headers_length = end != NULL ? (size_t)(end - data) + 1 : size;
    if (answer.headers_length > HTTP_HEADERS_MAX)
        answer.headers_length = HTTP_HEADERS_MAX;
    memcpy(answer.headers, data, answer.headers_length);
    for (size_t i = 0; i < answer.headers_length; i++) { /* as doctor_http.c leaves them */
        if ((unsigned char)answer.headers[i] < ' ' && strchr("\n\t", answer.headers[i]) == NULL)
            answer.headers[i] = '?';
        if (answer.headers[i] == '\0')
            answer.headers[i] = '?';
    }
    answer.headers[answer.headers_length] = '\0';
    if (end != NULL) {
        answer.body_length = size - (size_t)(end - data) - 2;
        if (answer.body_length > HTTP_BODY_MAX)
            answer.body_length = HTTP_BODY_MAX;
        memcpy(answer.body, end + 2, answer.body_length);
        answer.body[answer.body_length] = '\0';
    }
    for (int head = 0; head < 2; head++) {
        reading_of(&answer, head == 1, &reading);
        check_reading(&answer, &reading);
    }
    (void)!http_date_us(&answer, &date_us);
    reading_of(&answer, false, &reading);
    fuzz_result(reading_is_denial(&reading));
    return 0;
}

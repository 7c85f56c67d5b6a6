/* SPDX-License-Identifier: MIT */
#include "common/clerk_http.h"

#include "common/buf.h"
#include "common/crypto.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/banned.h"

#define URL_MAX_BYTES 3072
#define HEADER_MAX_BYTES (SECRET_BYTES_MAX + 64)
#define BODY_FIRST_BYTES 16384
#define BACKOFF_FIRST_US 100000
#define ATTEMPT_MIN_US 20000 /* with less time left an attempt makes no sense */
#define USER_AGENT "spendgate"

struct clerk_http {
    CURL *curl;
    struct curl_slist *headers;
    char api_url[URL_MAX_BYTES];
    bool loopback;
    int64_t connect_timeout_us;
    struct clock clock;
    struct clerk_quota *quota;
    char *body;
    size_t body_max;
    size_t body_size;
    size_t body_length;
    int64_t retry_after_us; /* of the answer being read */
};

/* ---- the URL ------------------------------------------------------------------------------------
 */

bool
host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool
clerk_url_allowed(const char *url, bool *loopback)
{
    char *scheme = NULL;
    char *host = NULL;
    char *user = NULL;
    CURLU *parsed = curl_url();
    bool allowed = false;

    *loopback = false;
    if (parsed == NULL || curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        goto out;
    if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK)
        goto out;         /* the secret key is what identifies us */
    if (host[0] == '[') { /* an IPv6 address stands in brackets */
        host[strlen(host) - 1] = '\0';
        *loopback = host_is_loopback(host + 1);
    } else {
        *loopback = host_is_loopback(host);
    }
    allowed = strcmp(scheme, "https") == 0 || (*loopback && strcmp(scheme, "http") == 0);
out:
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parsed);
    return allowed;
}

/* ---- what curl calls ----------------------------------------------------------------------------
 */

static bool
make_room(struct clerk_http *http, size_t wanted)
{
    size_t size = http->body_size == 0 ? BODY_FIRST_BYTES : http->body_size;
    char *body;

    while (size < wanted)
        size *= 2;
    if (size == http->body_size)
        return true;
    body = realloc(http->body, size);
    if (body == NULL)
        return false;
    http->body = body;
    http->body_size = size;
    return true;
}

static size_t
take_body(char *bytes, size_t one, size_t length, void *context)
{
    struct clerk_http *http = context;

    (void)one; /* always 1 */
    if (length > http->body_max - http->body_length ||
        !make_room(http, http->body_length + length + 1))
        return CURL_WRITEFUNC_ERROR;
    memcpy(http->body + http->body_length, bytes, length);
    http->body_length += length;
    http->body[http->body_length] = '\0';
    return length;
}

/* Retry-After in seconds, or as an HTTP date (RFC 9110 section 10.2.3). */
static int64_t
parse_retry_after(const struct clerk_http *http, const char *text)
{
    int64_t seconds;
    time_t date;

    if (text_to_int64(text, 0, QUOTA_PAUSE_MAX_US / US_PER_SECOND, &seconds))
        return seconds * US_PER_SECOND;
    if (strspn(text, "0123456789") == strlen(text))
        return QUOTA_PAUSE_MAX_US;
    date = curl_getdate(text, NULL);
    if (date < 0)
        return 0;
    seconds = date - clock_now_us(&http->clock) / US_PER_SECOND;
    if (seconds < 0)
        return 0;
    return seconds > QUOTA_PAUSE_MAX_US / US_PER_SECOND ? QUOTA_PAUSE_MAX_US
                                                        : seconds * US_PER_SECOND;
}

static size_t
take_header(char *bytes, size_t one, size_t length, void *context)
{
    static const char name[] = "retry-after:";
    struct clerk_http *http = context;
    char value[64];
    size_t value_length;

    (void)one;
    if (length < sizeof(name) || strncasecmp(bytes, name, sizeof(name) - 1) != 0)
        return length;
    bytes += sizeof(name) - 1;
    value_length = length - (sizeof(name) - 1);
    while (value_length > 0 && (*bytes == ' ' || *bytes == '\t')) {
        bytes++;
        value_length--;
    }
    while (value_length > 0 && strchr(" \t\r\n", bytes[value_length - 1]) != NULL)
        value_length--;
    if (value_length == 0 || value_length >= sizeof(value))
        return length;
    memcpy(value, bytes, value_length);
    value[value_length] = '\0';
    http->retry_after_us = parse_retry_after(http, value);
    return length;
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static bool
append_header(struct clerk_http *http, const char *line)
{
    struct curl_slist *longer = curl_slist_append(http->headers, line);

    if (longer == NULL)
        return false;
    http->headers = longer;
    return true;
}

static bool
add_header(struct clerk_http *http, const char *name, const char *value)
{
    char text[HEADER_MAX_BYTES];
    bool added;
    struct buf line;

    buf_init(&line, text, sizeof(text));
    buf_add(&line, name);
    buf_add(&line, ": ");
    buf_add_header_value(&line, value);
    added = !buf_failed(&line) && append_header(http, text);
    crypto_wipe(text, sizeof(text));
    return added;
}

static bool
add_headers(struct clerk_http *http, const struct secret *secret_key)
{
    char text[HEADER_MAX_BYTES];
    struct buf value;
    bool added;

    buf_init(&value, text, sizeof(text));
    buf_add(&value, "Bearer ");
    buf_add(&value, (const char *)secret_key->bytes);
    added = !buf_failed(&value) && add_header(http, "Authorization", text);
    crypto_wipe(text, sizeof(text));
    return added && add_header(http, "Clerk-API-Version", CLERK_API_VERSION) &&
           add_header(http, "Content-Type", "application/json") &&
           add_header(http, "Accept", "application/json") &&
           /* no "Expect: 100-continue": it would cost a round trip */
           append_header(http, "Expect:");
}

static bool
set_protocols(CURL *curl, bool loopback)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, loopback ? "http,https" : "https") ==
           CURLE_OK;
#else
    return curl_easy_setopt(curl, CURLOPT_PROTOCOLS,
                            loopback ? (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)
                                     : (long)CURLPROTO_HTTPS) == CURLE_OK;
#endif
}

static bool
set_options(struct clerk_http *http)
{
    CURL *curl = http->curl;
    bool set = set_protocols(curl, http->loopback);

    set = set && curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, http->headers) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEDATA, http) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HEADERDATA, http) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
    /* A proxy of the environment is for the way out, never for this machine. */
    if (http->loopback)
        set = set && curl_easy_setopt(curl, CURLOPT_NOPROXY, "*") == CURLE_OK;
    return set;
}

enum status
clerk_http_open(const struct clerk_http_options *options, struct clerk_http **out,
                struct error *err)
{
    enum status status = STATUS_NO_MEMORY;
    struct clerk_http *http = NULL;

    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, STATUS_NO_MEMORY, "libcurl cannot be set up");
    http = calloc(1, sizeof(*http));
    if (http == NULL) {
        curl_global_cleanup();
        return error_set(err, STATUS_NO_MEMORY, "clerk: out of memory");
    }
    http->connect_timeout_us = options->connect_timeout_us;
    http->clock = options->clock;
    http->quota = options->quota;
    http->body_max = options->body_max > 0 ? options->body_max : CLERK_BODY_MAX;
    if (!clerk_url_allowed(options->api_url, &http->loopback) ||
        !text_copy(http->api_url, sizeof(http->api_url) - CLERK_PATH_SIZE, options->api_url)) {
        status = error_set(err, STATUS_INVALID,
                           "clerk { api_url } must be https, or http to a loopback address");
        goto out;
    }
    http->curl = curl_easy_init();
    if (http->curl == NULL || !make_room(http, BODY_FIRST_BYTES) ||
        !add_headers(http, options->secret_key) || !set_options(http)) {
        status = error_set(err, STATUS_NO_MEMORY, "clerk: libcurl refuses its options");
        goto out;
    }
    *out = http;
    http = NULL;
    status = STATUS_OK;
out:
    clerk_http_close(http);
    assert((status == STATUS_OK) == (*out != NULL));
    return status;
}

void
clerk_http_close(struct clerk_http *http)
{
    if (http == NULL)
        return;
    curl_easy_cleanup(http->curl);
    for (struct curl_slist *line = http->headers; line != NULL; line = line->next)
        crypto_wipe(line->data, strlen(line->data));
    curl_slist_free_all(http->headers);
    free(http->body);
    free(http);
    curl_global_cleanup();
}

/* ---- calling ------------------------------------------------------------------------------------
 */

static long
milliseconds(int64_t us)
{
    return us < 1000 ? 1 : (long)(us / 1000); /* 0 would mean "no limit" to curl */
}

static CURLcode
transfer(struct clerk_http *http, const struct clerk_call *call, int64_t left_us)
{
    char url[URL_MAX_BYTES];
    struct buf text;
    CURL *curl = http->curl;
    int64_t connect_us = http->connect_timeout_us;
    CURLcode code;

    http->body_length = 0;
    http->body[0] = '\0';
    http->retry_after_us = 0;
    buf_init(&text, url, sizeof(url));
    buf_add(&text, http->api_url);
    buf_add(&text, call->path);
    assert(!buf_failed(&text)); /* clerk_http_open left room */
    code = curl_easy_setopt(curl, CURLOPT_URL, url);
    if (code == CURLE_OK && call->body == NULL)
        code = curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (code == CURLE_OK && call->body != NULL)
        code = curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)call->body_length);
    if (code == CURLE_OK && call->body != NULL) /* borrowed by curl, not copied */
        code = curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                                milliseconds(connect_us < left_us ? connect_us : left_us));
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, milliseconds(left_us));
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L); /* forgets the body, which is not ours */
    return code;
}

static bool
answer_is_json(CURL *curl)
{
    static const char json[] = "application/json";
    char *type = NULL;

    if (curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type) != CURLE_OK || type == NULL ||
        strncasecmp(type, json, sizeof(json) - 1) != 0)
        return false;
    return strchr("; \t", type[sizeof(json) - 1]) != NULL; /* or the end */
}

static enum clerk_outcome
outcome_of(int http_status)
{
    switch (http_status) {
    case 200:
    case 400:
    case 404:
        return CLERK_ANSWERED;
    case 401:
    case 403:
        return CLERK_KEY_REFUSED;
    case 429:
        return CLERK_RATE_LIMITED;
    default:
        return CLERK_UNAVAILABLE;
    }
}

static void
describe(const struct clerk_http *http, const struct clerk_answer *answer, CURLcode code,
         struct error *err)
{
    if (code == CURLE_WRITE_ERROR)
        (void)error_set(err, STATUS_UNAVAILABLE, "Clerk: the answer is longer than %zu bytes",
                        http->body_max);
    else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        (void)error_set(err, STATUS_UNAVAILABLE,
                        "Clerk: its certificate is not valid here: check clerk { api_url }, this "
                        "machine's clock and its CA certificates (%s)",
                        curl_easy_strerror(code));
    else if (code != CURLE_OK)
        (void)error_set(err, STATUS_UNAVAILABLE,
                        "Clerk: %s: check clerk { api_url }, the network and its proxy",
                        curl_easy_strerror(code));
    else if (answer->outcome == CLERK_KEY_REFUSED)
        (void)error_set(
            err, STATUS_UNAVAILABLE,
            "Clerk refuses our own secret key (HTTP %d): correct clerk { secret_key_file } or "
            "CLERK_SECRET_KEY",
            answer->http_status);
    else if (answer->outcome == CLERK_RATE_LIMITED)
        (void)error_set(err, STATUS_UNAVAILABLE,
                        "Clerk answers 429: lower clerk { rate } or raise clerk { cache_ttl }");
    else
        (void)error_set(err, STATUS_UNAVAILABLE, "Clerk answers HTTP %d", answer->http_status);
}

static void
report(struct clerk_http *http, const struct clerk_call *call, const struct clerk_answer *answer)
{
    enum quota_report what = QUOTA_CALL_ANSWERED;

    if (http->quota == NULL)
        return;
    if (answer->outcome == CLERK_UNAVAILABLE)
        what = QUOTA_CALL_FAILED;
    else if (answer->outcome == CLERK_RATE_LIMITED)
        what = QUOTA_CALL_LIMITED;
    clerk_quota_report(http->quota, call->use, what, answer->retry_after_us,
                       clock_boot_us(&http->clock));
}

/* One request. True when another attempt may fare better. */
static bool
attempt(struct clerk_http *http, const struct clerk_call *call, int64_t left_us,
        struct clerk_answer *out, struct error *err)
{
    CURLcode code = transfer(http, call, left_us);
    long http_status = 0;

    *out = (struct clerk_answer){ .outcome = CLERK_UNAVAILABLE, .body = "" };
    if (code == CURLE_OK &&
        curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &http_status) == CURLE_OK) {
        out->http_status = (int)http_status;
        out->outcome = outcome_of(out->http_status);
        out->json = answer_is_json(http->curl);
        out->body = http->body;
        out->body_length = http->body_length;
        out->retry_after_us = http->retry_after_us;
    }
    if (out->outcome == CLERK_RATE_LIMITED && out->retry_after_us == 0)
        out->retry_after_us = US_PER_SECOND;
    report(http, call, out);
    if (out->outcome != CLERK_ANSWERED)
        describe(http, out, code, err);
    if (code != CURLE_OK)
        return code != CURLE_WRITE_ERROR && code != CURLE_PEER_FAILED_VERIFICATION;
    return out->outcome == CLERK_RATE_LIMITED || out->http_status >= 500;
}

/* Ask the quota. False, with `out` and `err` set, when there may be no call. */
static bool
may_call(struct clerk_http *http, const struct clerk_call *call, struct clerk_answer *out,
         struct error *err)
{
    enum quota_answer answer = QUOTA_GRANTED;
    int64_t retry_after_us = 0;

    if (http->quota != NULL)
        answer =
            clerk_quota_take(http->quota, call->use, clock_boot_us(&http->clock), &retry_after_us);
    if (answer == QUOTA_GRANTED)
        return true;
    out->retry_after_us = retry_after_us;
    out->outcome = answer == QUOTA_PAUSED ? CLERK_RATE_LIMITED : CLERK_UNAVAILABLE;
    (void)error_set(
        err, STATUS_UNAVAILABLE,
        answer == QUOTA_PAUSED
            ? "the quota of calls to Clerk is used up: see clerk { rate } and clerk { cache_ttl }"
            : "Clerk did not answer lately and is not asked: the breaker is open");
    return false;
}

static void
sleep_us(int64_t us)
{
    struct timespec time = { .tv_sec = us / US_PER_SECOND, .tv_nsec = (us % US_PER_SECOND) * 1000 };

    nanosleep(&time, NULL);
}

/* Between a half and the whole of 100 ms, doubled with each attempt; a 429's own time when it is
 * longer. */
static int64_t
pause_before(int attempts, int64_t retry_after_us)
{
    int64_t longest_us = (int64_t)BACKOFF_FIRST_US << (attempts - 1);
    uint32_t random;
    int64_t pause_us;

    crypto_random(&random, sizeof(random));
    pause_us = longest_us / 2 + (int64_t)(random % (uint32_t)(longest_us / 2));
    return pause_us > retry_after_us ? pause_us : retry_after_us + pause_us / 10;
}

enum status
clerk_http_call(struct clerk_http *http, const struct clerk_call *call, struct clerk_answer *out,
                struct error *err)
{
    *out = (struct clerk_answer){ .outcome = CLERK_UNAVAILABLE, .body = "" };
    (void)error_set(err, STATUS_UNAVAILABLE,
                    "Clerk: no time is left to ask: see clerk { timeout }");
    for (int attempts = 1; attempts <= CLERK_ATTEMPTS_MAX; attempts++) {
        int64_t left_us = call->deadline_us - clock_boot_us(&http->clock);
        int64_t pause_us;

        if (left_us < ATTEMPT_MIN_US || !may_call(http, call, out, err))
            break;
        if (!attempt(http, call, left_us, out, err))
            break;
        pause_us = pause_before(attempts, out->retry_after_us);
        if (clock_boot_us(&http->clock) + pause_us + ATTEMPT_MIN_US > call->deadline_us)
            break;
        sleep_us(pause_us);
    }
    return out->outcome == CLERK_ANSWERED ? STATUS_OK : STATUS_UNAVAILABLE;
}

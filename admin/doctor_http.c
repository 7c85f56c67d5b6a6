/* SPDX-License-Identifier: MIT */
#include "admin/doctor_http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/clerk_http.h"
#include "common/clock.h"
#include "common/crypto.h"

#include "common/banned.h"

#define CONNECT_TIMEOUT_MS 5000L
#define USER_AGENT "spendgate-doctor/" PACKAGE_VERSION
#define URL_SIZE (HTTP_ORIGIN_SIZE + 1)

struct http_client {
    CURL *curl;
    struct clock clock;
    struct http_answer *answer; /* of the call being made */
};

/* ---- URLs ----------------------------------------------------------------------------------- */

static bool
is_literal(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* One part of a URL into `out`; false when it is missing or too long. */
static bool
copy_part(CURLU *url, CURLUPart part, unsigned flags, char *out, size_t size)
{
    char *text = NULL;
    bool copied = curl_url_get(url, part, &text, flags) == CURLUE_OK && text_copy(out, size, text);

    curl_free(text);
    return copied;
}

static bool
has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool there = curl_url_get(url, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return there;
}

static enum status
read_parts(CURLU *parsed, struct http_place *out, struct error *err)
{
    char host[sizeof(out->host) + 2];
    char port[8];
    int64_t number;
    struct buf origin;

    if (!copy_part(parsed, CURLUPART_SCHEME, 0, out->scheme, sizeof(out->scheme)) ||
        (strcmp(out->scheme, "http") != 0 && strcmp(out->scheme, "https") != 0))
        return error_set(err, STATUS_INVALID, "is no http or https address");
    if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD))
        return error_set(err, STATUS_INVALID, "holds a user or a password: leave them out");
    if (!copy_part(parsed, CURLUPART_HOST, 0, host, sizeof(host)) ||
        !copy_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof(port)) ||
        !text_to_int64(port, 1, 65535, &number) ||
        !copy_part(parsed, CURLUPART_PATH, 0, out->path, sizeof(out->path)))
        return error_set(err, STATUS_INVALID, "has a part that cannot be read or is too long");
    out->port = (long)number;
    buf_init(&origin, out->origin, sizeof(out->origin));
    buf_add_format(&origin, "%s://%s:%ld", out->scheme, host, out->port);
    if (host[0] == '[') { /* an IPv6 address */
        host[strlen(host) - 1] = '\0';
        memmove(host, host + 1, strlen(host));
    }
    if (buf_failed(&origin) || !text_copy(out->host, sizeof(out->host), host))
        return error_set(err, STATUS_INVALID, "has a part that cannot be read or is too long");
    out->loopback = host_is_loopback(out->host);
    out->literal = is_literal(out->host);
    return STATUS_OK;
}

enum status
http_place_parse(const char *url, struct http_place *out, struct error *err)
{
    CURLU *parsed = curl_url();
    enum status status;

    memset(out, 0, sizeof(*out));
    if (parsed == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    if (curl_url_set(parsed, CURLUPART_URL, url, CURLU_PATH_AS_IS | CURLU_NON_SUPPORT_SCHEME) !=
        CURLUE_OK)
        status = error_set(err, STATUS_INVALID, "is no http or https address");
    else
        status = read_parts(parsed, out, err);
    curl_url_cleanup(parsed);
    return status;
}

/* ---- what curl calls ------------------------------------------------------------------------ */

static size_t
take_body(char *bytes, size_t one, size_t length, void *context)
{
    struct http_answer *answer = ((struct http_client *)context)->answer;
    size_t room = HTTP_BODY_MAX - answer->body_length;
    size_t kept = length < room ? length : room;

    (void)one; /* always 1 */
    memcpy(answer->body + answer->body_length, bytes, kept);
    answer->body_length += kept;
    answer->body[answer->body_length] = '\0';
    if (kept == length)
        return length;
    answer->cut = true; /* enough seen: the rest is not waited for */
    return CURL_WRITEFUNC_ERROR;
}

/* A line of the head. A status line begins anew: what was before it was "100 Continue" or so. */
static size_t
take_header(char *bytes, size_t one, size_t length, void *context)
{
    struct http_answer *answer = ((struct http_client *)context)->answer;
    size_t end = length;

    (void)one;
    if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        answer->headers_length = 0;
        answer->headers[0] = '\0';
        return length;
    }
    while (end > 0 && strchr("\r\n", bytes[end - 1]) != NULL)
        end--;
    if (end == 0)
        return length;
    if (end + 1 > HTTP_HEADERS_MAX - answer->headers_length) {
        answer->cut = true;
        return length;
    }
    for (size_t i = 0; i < end; i++) {
        bool plain = (unsigned char)bytes[i] >= ' ' || bytes[i] == '\t';

        answer->headers[answer->headers_length++] = (char)(plain ? bytes[i] : '?');
    }
    answer->headers[answer->headers_length++] = '\n';
    answer->headers[answer->headers_length] = '\0';
    return length;
}

/* ---- opening -------------------------------------------------------------------------------- */

enum status
http_client_open(struct http_client **out, struct error *err)
{
    struct http_client *client;

    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, STATUS_NO_MEMORY, "libcurl cannot be set up");
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        curl_global_cleanup();
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    client->clock = clock_system();
    client->curl = curl_easy_init();
    if (client->curl == NULL) {
        http_client_close(client);
        return error_set(err, STATUS_NO_MEMORY, "libcurl cannot be set up");
    }
    *out = client;
    return STATUS_OK;
}

void
http_client_close(struct http_client *client)
{
    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    free(client);
    curl_global_cleanup();
}

/* ---- calling -------------------------------------------------------------------------------- */

static long
curl_version_of(enum http_version version, bool tls)
{
    switch (version) {
    case HTTP_1_0:
        return CURL_HTTP_VERSION_1_0;
    case HTTP_2:
        return tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    default:
        return CURL_HTTP_VERSION_1_1;
    }
}

static long
curl_family_of(enum http_family family)
{
    switch (family) {
    case HTTP_IPV4:
        return CURL_IPRESOLVE_V4;
    case HTTP_IPV6:
        return CURL_IPRESOLVE_V6;
    default:
        return CURL_IPRESOLVE_WHATEVER;
    }
}

static struct curl_slist *
make_headers(const struct http_call *call)
{
    /* no "Expect: 100-continue": a client that just sends is the one that hangs */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    for (size_t i = 0; list != NULL && i < HTTP_EXTRA_MAX && call->headers[i] != NULL; i++) {
        struct curl_slist *longer = curl_slist_append(list, call->headers[i]);

        if (longer == NULL) {
            curl_slist_free_all(list);
            return NULL;
        }
        list = longer;
    }
    return list;
}

/* CURLOPT_* of the answer and of the connection. */
static bool
set_connection(struct http_client *client, const struct http_call *call,
               const struct http_place *place)
{
    CURL *curl = client->curl;
    const char *trusted = getenv("SSL_CERT_FILE");
    bool tls = strcmp(place->scheme, "https") == 0;
    bool set = true;

    set = set && curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                                  curl_version_of(call->version, tls)) == CURLE_OK;
    set =
        set && curl_easy_setopt(curl, CURLOPT_IPRESOLVE, curl_family_of(call->family)) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) == CURLE_OK;
    set = set &&
          curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(call->timeout_us / 1000)) == CURLE_OK;
    /* A proxy of the environment is for the way out, never for this machine. */
    if (place->loopback)
        set = set && curl_easy_setopt(curl, CURLOPT_NOPROXY, "*") == CURLE_OK;
    /* A private authority, named as OpenSSL's programs have it named. */
    if (tls && trusted != NULL && trusted[0] != '\0')
        set = set && curl_easy_setopt(curl, CURLOPT_CAINFO, trusted) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HTTP09_ALLOWED, 0L) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_WRITEDATA, client) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK;
    return set && curl_easy_setopt(curl, CURLOPT_HEADERDATA, client) == CURLE_OK;
}

static bool
set_request(struct http_client *client, const struct http_call *call,
            const struct curl_slist *headers)
{
    CURL *curl = client->curl;
    bool set = curl_easy_setopt(curl, CURLOPT_URL, call->origin) == CURLE_OK;

    set = set && curl_easy_setopt(curl, CURLOPT_REQUEST_TARGET, call->target) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK;
    set = set && curl_easy_setopt(curl, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK;
    if (call->body != NULL) { /* borrowed, not copied */
        set = set &&
              curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)call->body_length) == CURLE_OK;
        set = set && curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body) == CURLE_OK;
    }
    if (strcmp(call->method, "HEAD") == 0)
        return set && curl_easy_setopt(curl, CURLOPT_NOBODY, 1L) == CURLE_OK;
    return set && curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK;
}

static enum http_failure
failure_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return HTTP_ANSWERED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return HTTP_NOT_REACHED;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return HTTP_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_TIMEOUT;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return HTTP_BROKEN;
    default:
        return HTTP_FAILED;
    }
}

static void
read_outcome(struct http_client *client, CURLcode code, const char *detail)
{
    struct http_answer *answer = client->answer;
    curl_off_t elapsed_us = 0;
    long number = 0;

    answer->failure = failure_of(code);
    if (code == CURLE_WRITE_ERROR && answer->cut)
        answer->failure = HTTP_ANSWERED; /* our own limit */
    if (curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &number) == CURLE_OK)
        answer->status = (int)number;
    if (curl_easy_getinfo(client->curl, CURLINFO_HTTP_VERSION, &number) == CURLE_OK)
        answer->version = number == CURL_HTTP_VERSION_1_0   ? 10
                          : number == CURL_HTTP_VERSION_1_1 ? 11
                          : number == CURL_HTTP_VERSION_2_0 ? 20
                                                            : 30;
    if (curl_easy_getinfo(client->curl, CURLINFO_TOTAL_TIME_T, &elapsed_us) == CURLE_OK)
        answer->elapsed_us = elapsed_us;
    if (answer->failure != HTTP_ANSWERED) {
        struct buf text;

        buf_init(&text, answer->error, sizeof(answer->error));
        buf_add(&text, detail[0] != '\0' ? detail : curl_easy_strerror(code));
    }
}

void
http_call(struct http_client *client, const struct http_call *call, struct http_answer *out)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = make_headers(call);
    struct http_place place;
    struct error err;

    out->failure = HTTP_FAILED;
    out->status = out->version = 0;
    out->elapsed_us = 0;
    out->headers_length = out->body_length = 0;
    out->headers[0] = out->body[0] = out->error[0] = '\0';
    out->cut = false;
    client->answer = out;
    out->began_us = clock_now_us(&client->clock);
    curl_easy_reset(client->curl);
    if (headers == NULL || http_place_parse(call->origin, &place, &err) != STATUS_OK ||
        !set_connection(client, call, &place) || !set_request(client, call, headers) ||
        curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, detail) != CURLE_OK)
        read_outcome(client, CURLE_FAILED_INIT, "libcurl refuses its options");
    else
        read_outcome(client, curl_easy_perform(client->curl), detail);
    (void)curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
    for (struct curl_slist *line = headers; line != NULL; line = line->next)
        crypto_wipe(line->data, strlen(line->data)); /* one may be a credential */
    curl_slist_free_all(headers);
}

/* ---- reading an answer ---------------------------------------------------------------------- */

bool
http_header(const struct http_answer *answer, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name);

    out[0] = '\0';
    for (const char *line = answer->headers; *line != '\0';) {
        size_t length = strcspn(line, "\n");

        if (length > name_length && line[name_length] == ':' &&
            strncasecmp(line, name, name_length) == 0) {
            const char *value = line + name_length + 1;
            size_t value_length = length - name_length - 1;

            while (value_length > 0 && (*value == ' ' || *value == '\t')) {
                value++;
                value_length--;
            }
            while (value_length > 0 && strchr(" \t", value[value_length - 1]) != NULL)
                value_length--;
            if (value_length >= size)
                return false;
            memcpy(out, value, value_length);
            out[value_length] = '\0';
            return true;
        }
        line += length + (line[length] != '\0');
    }
    return false;
}

bool
http_header_like(const struct http_answer *answer, const char *prefix, size_t n, char *out,
                 size_t size)
{
    size_t prefix_length = strlen(prefix);

    out[0] = '\0';
    for (const char *line = answer->headers; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        size_t name_length = strcspn(line, ":\n");

        if (name_length < length && strncasecmp(line, prefix, prefix_length) == 0 && n-- == 0) {
            if (name_length >= size)
                name_length = size - 1;
            memcpy(out, line, name_length);
            out[name_length] = '\0';
            return true;
        }
        line += length + (line[length] != '\0');
    }
    return false;
}

bool
http_date_us(const struct http_answer *answer, int64_t *out)
{
    char text[64];
    time_t date;

    if (!http_header(answer, "Date", text, sizeof(text)))
        return false;
    date = curl_getdate(text, NULL);
    if (date < 0)
        return false;
    *out = (int64_t)date * US_PER_SECOND;
    return true;
}

/* SPDX-License-Identifier: MIT */
#include "admin/doctor_reading.h"

#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/probe.h"

#include "common/banned.h"

#define DENIAL_SIZE 4096 /* ANSWER_BODY_SIZE of the authorizer */
#define CHALLENGE "realm=\"spendgate\""
#define TITLE_WITHIN 1024 /* bytes of a page in which its title stands */

/* ---- the web server ------------------------------------------------------------------------- */

/* "1.4.69" after the slash: 1004069. */
static int
read_version(const char *text)
{
    int version = 0;

    for (int part = 0; part < 3; part++) {
        int number = 0;

        if (*text < '0' || *text > '9')
            return part < 2 ? 0 : version * 1000;
        while (*text >= '0' && *text <= '9' && number < 1000)
            number = number * 10 + (*text++ - '0');
        if (number >= 1000 || (part == 0 && number > 99))
            return 0;
        version = version * 1000 + number;
        text += *text == '.';
    }
    return version;
}

static void
read_server(const char *text, struct reading *out)
{
    static const struct {
        const char *name;
        enum reading_server server;
    } known[] = { { "Apache", SERVER_APACHE },
                  { "lighttpd", SERVER_LIGHTTPD },
                  { "nginx", SERVER_NGINX } };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t length = strlen(known[i].name);

        if (strncasecmp(text, known[i].name, length) != 0)
            continue;
        out->server = known[i].server;
        (void)!text_copy(out->server_text, sizeof(out->server_text), text);
        if (text[length] == '/')
            out->server_version = read_version(text + length + 1);
        return;
    }
}

const char *
reading_server_name(enum reading_server server)
{
    switch (server) {
    case SERVER_APACHE:
        return "Apache";
    case SERVER_LIGHTTPD:
        return "lighttpd";
    case SERVER_NGINX:
        return "nginx";
    default:
        return "the web server";
    }
}

/* ---- the authorizer's own words ------------------------------------------------------------- */

static void
read_probe_word(const char *word, size_t length, struct reading_probe *out)
{
    const struct {
        const char *name;
        char *value;
    } words[] = { { "version=", out->version },   { "role=", out->role },
                  { "mode=", out->mode },         { "apache=", out->apache },
                  { "settings=", out->settings }, { "store=", out->store } };

    if (length == strlen("unique_id=yes") && memcmp(word, "unique_id=yes", length) == 0)
        out->unique_id = true;
    if (length == strlen("cache=no") && memcmp(word, "cache=no", length) == 0)
        out->no_cache = true;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t name_length = strlen(words[i].name);

        if (length <= name_length || length - name_length >= READING_WORD_SIZE ||
            memcmp(word, words[i].name, name_length) != 0)
            continue;
        memcpy(words[i].value, word + name_length, length - name_length);
        words[i].value[length - name_length] = '\0';
    }
}

static void
read_probe(const struct http_answer *answer, struct reading *out)
{
    static const char server[] = "server=";
    char line[1024];

    if (!http_header(answer, PROBE_HEADER, line, sizeof(line)))
        return;
    for (const char *word = line; *word != '\0';) {
        size_t length = strcspn(word, " ");

        if (strncmp(word, server, sizeof(server) - 1) == 0) { /* the rest of the line */
            read_server(word + sizeof(server) - 1, out);
            break;
        }
        read_probe_word(word, length, &out->probe);
        word += length + (word[length] != '\0');
    }
    out->probe.there = out->probe.role[0] != '\0';
}

/* ---- the body ------------------------------------------------------------------------------- */

/* The web server's own error page: its title begins with the status. */
static bool
is_error_page(const struct http_answer *answer)
{
    char start[TITLE_WITHIN + 1];
    size_t length = answer->body_length < TITLE_WITHIN ? answer->body_length : TITLE_WITHIN;
    const char *title;
    int64_t number;
    char digits[4];

    memcpy(start, answer->body, length);
    start[length] = '\0';
    title = strcasestr(start, "<title>");
    if (title == NULL || strlen(title) < strlen("<title>NNN"))
        return false;
    memcpy(digits, title + strlen("<title>"), 3);
    digits[3] = '\0';
    return text_to_int64(digits, 100, 999, &number) && number == answer->status;
}

/* A file of conf/apache/denials that mod_include did not fill in. */
static bool
is_unfilled(const struct http_answer *answer)
{
    return strncmp(answer->body, "<!--#", 5) == 0 &&
           strstr(answer->body, "SPENDGATE_DENIAL") != NULL;
}

/* The "error" of a JSON body, or its code (compat = "openai"); "" when it is none. */
static void
read_code(const char *text, size_t length, char out[READING_WORD_SIZE])
{
    struct json *object = NULL;
    const char *code;

    out[0] = '\0';
    if (json_parse(text, length, &object, NULL) != STATUS_OK)
        return;
    code = json_string(json_member(object, "error"));
    if (code == NULL)
        code = json_string(json_path(object, "error.code"));
    if (code == NULL) /* compat = "openai" */
        code = json_string(json_path(object, "error.spendgate_error"));
    if (code != NULL)
        (void)!text_copy(out, READING_WORD_SIZE, code);
    json_free(object);
}

/* What the files in conf/ say where the authorizer's own words are lost. */
static bool
is_code_by_status(const char *code)
{
    static const char *const codes[] = { "unauthorized", "forbidden", "limit_reached",
                                         "auth_unavailable", "invalid_path" };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(code, codes[i]) == 0)
            return true;
    }
    return false;
}

static bool
is_page(int status)
{
    return (status >= 200 && status < 300) || status == 304;
}

/* What a web server makes of a denial that it cannot hand on. */
static bool
is_refusal(int status)
{
    return status == 401 || status == 403 || status == 500 || (status >= 502 && status <= 504);
}

/* A denial by its header: is it whole? */
static enum reading_kind
denial_kind(const struct http_answer *answer, bool head, const char *denial, size_t denial_length,
            const struct reading *reading)
{
    bool own_status = reading->status == reading->denied;
    char code[READING_WORD_SIZE];

    if (is_page(reading->status))
        return READING_OPEN;
    if (!own_status && !is_refusal(reading->status))
        return READING_COVERED; /* a 404, say: the web server went on to look for the page */
    if (head)
        return own_status ? READING_DENIED : READING_FLATTENED;
    if (own_status && answer->body_length == denial_length && denial_length > 0 &&
        memcmp(answer->body, denial, denial_length) == 0)
        return READING_DENIED;
    read_code(answer->body, answer->body_length, code);
    if (is_code_by_status(code))
        return own_status ? READING_REPLACED : READING_FLATTENED;
    if (answer->body_length == 0 || is_error_page(answer) || is_unfilled(answer))
        return READING_FLATTENED;
    return READING_COVERED;
}

static enum reading_kind
foreign_kind(const struct http_answer *answer, bool challenged, struct reading *reading)
{
    int status = reading->status;

    read_code(answer->body, answer->body_length, reading->code);
    if (is_page(status))
        return READING_OPEN;
    if (status >= 300 && status < 400)
        return READING_REDIRECTED;
    /* Without a header of ours, the challenge is what tells a denial from a page's own 401. */
    if (challenged && status == 401)
        return is_code_by_status(reading->code)                    ? READING_REPLACED
               : is_error_page(answer) || answer->body_length == 0 ? READING_FLATTENED
                                                                   : READING_COVERED;
    if (status == 500 || (status >= 502 && status <= 504))
        return READING_AWAY;
    return READING_REFUSED;
}

void
reading_of(const struct http_answer *answer, bool head, struct reading *out)
{
    char text[2 * DENIAL_SIZE], denial[DENIAL_SIZE];
    size_t denial_length = 0;
    int64_t denied;
    bool challenged;

    memset(out, 0, sizeof(*out));
    out->status = answer->status;
    if (answer->status == 0)
        return;
    if (http_header(answer, "Server", text, sizeof(text)))
        read_server(text, out);
    (void)http_header(answer, "WWW-Authenticate", text, sizeof(text));
    challenged = strstr(text, CHALLENGE) != NULL;
    out->basic = strncasecmp(text, "Basic", 5) == 0;
    read_probe(answer, out);
    if (http_header(answer, "X-Spendgate-Status", text, sizeof(text)) &&
        text_to_int64(text, 400, 599, &denied))
        out->denied = (int)denied;
    if (out->denied == 0) {
        out->kind = foreign_kind(answer, challenged, out);
        return;
    }
    if (!http_header(answer, "X-Spendgate-Denial", text, sizeof(text)) ||
        !base64url_decode(text, strlen(text), denial, sizeof(denial), &denial_length))
        denial_length = 0;
    read_code(denial, denial_length, out->code);
    out->kind = denial_kind(answer, head, denial, denial_length, out);
}

bool
reading_is_denial(const struct reading *reading)
{
    return reading->kind >= READING_DENIED && reading->kind <= READING_COVERED;
}

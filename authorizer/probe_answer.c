/* SPDX-License-Identifier: MIT */
#include "authorizer/probe_answer.h"

#include <string.h>

#include "common/probe.h"

#include "common/banned.h"

#define VALUE_MAX 128
#define LINE_SIZE 768

static const char *
role_name(enum request_role role)
{
    switch (role) {
    case REQUEST_AUTHORIZER:
        return "authorizer";
    case REQUEST_RESPONDER:
        return "responder";
    default:
        return "cgi";
    }
}

/* A parameter of the web server's, cut to VALUE_MAX bytes; nothing when it is not there. */
static void
add_parameter(const struct request *request, const char *name, const char *label, struct buf *out)
{
    const char *value = request_param(request, name);
    char text[VALUE_MAX + 1];
    size_t length;

    if (value == NULL || value[0] == '\0')
        return;
    length = strnlen(value, VALUE_MAX);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)(value[i] >= ' ' && value[i] <= '~' ? value[i] : '?');
    text[length] = '\0';
    buf_add(out, label);
    buf_add(out, text);
}

/* False, and an empty `out`, when nobody with the right to know asks. */
static bool
write_line(const struct settings *settings, struct verification *verification,
           const struct request *request, int64_t now_us, struct buf *out)
{
    const char *unique_id = request_param(request, "UNIQUE_ID");
    char fingerprint[PROBE_FINGERPRINT_SIZE];

    buf_clear(out);
    if (!probe_ticket_valid(&settings->clerk.secret_key,
                            request_param(request, "HTTP_X_SPENDGATE_DOCTOR"), now_us))
        return false;
    buf_add(out, PROBE_HEADER ": version=" PACKAGE_VERSION " role=");
    buf_add(out, role_name(request_role(request)));
    add_parameter(request, "SPENDGATE_MODE", " mode=", out);
    add_parameter(request, "FCGI_APACHE_ROLE", " apache=", out);
    buf_add(out, unique_id != NULL && unique_id[0] != '\0' ? " unique_id=yes" : " unique_id=no");
    probe_settings_fingerprint(settings, fingerprint);
    buf_add_format(out, " settings=%s", fingerprint);
    probe_store_fingerprint(settings, fingerprint);
    buf_add_format(out, " store=%s", fingerprint);
    buf_add(out, verification_has_cache(verification) ? " cache=yes" : " cache=no");
    add_parameter(request, "SERVER_SOFTWARE", " server=", out);
    buf_add(out, "\r\n");
    return !buf_failed(out);
}

enum status
probe_write_answer(const struct settings *settings, struct verification *verification,
                   struct request *request, int64_t now_us, const struct buf *answer,
                   struct error *err)
{
    static const char allow[] = "Status: 200";
    const char *text = buf_text(answer);
    size_t status_line = strcspn(text, "\n") + 1;
    char storage[LINE_SIZE];
    struct buf line;

    buf_init(&line, storage, sizeof(storage));
    if (strncmp(text, allow, sizeof(allow) - 1) == 0 ||
        !write_line(settings, verification, request, now_us, &line))
        return request_write(request, answer->data, answer->length, err);
    /* "Status:" stays the first line. */
    if (request_write(request, text, status_line, err) != STATUS_OK ||
        request_write(request, line.data, line.length, err) != STATUS_OK)
        return err->status;
    return request_write(request, text + status_line, answer->length - status_line, err);
}

/* SPDX-License-Identifier: MIT */
/* Plans, routes, paths and scopes as pure questions; see policy.h. */
#include "common/policy.h"

#include <assert.h>
#include <string.h>

#include "common/json.h"

#include "common/banned.h"

static const struct {
    enum credential_kind kind;
    const char *name;
} credential_kinds[] = {
    { CREDENTIAL_API_KEY, "api_key" },
    { CREDENTIAL_M2M_TOKEN, "m2m_token" },
    { CREDENTIAL_SESSION_TOKEN, "session_token" },
    { CREDENTIAL_OAUTH_TOKEN, "oauth_token" },
};

static const struct {
    enum enforce enforce;
    const char *name;
} enforcements[] = {
    { ENFORCE_HARD, "hard" },
    { ENFORCE_WARN, "warn" },
    { ENFORCE_OFF, "off" },
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *
credential_kind_name(enum credential_kind kind)
{
    for (size_t i = 0; i < COUNT_OF(credential_kinds); i++) {
        if (credential_kinds[i].kind == kind)
            return credential_kinds[i].name;
    }
    return "none";
}

bool
credential_kind_parse(const char *name, enum credential_kind *out)
{
    for (size_t i = 0; i < COUNT_OF(credential_kinds); i++) {
        if (strcmp(credential_kinds[i].name, name) == 0) {
            *out = credential_kinds[i].kind;
            return true;
        }
    }
    return false;
}

const char *
enforce_name(enum enforce enforce)
{
    for (size_t i = 0; i < COUNT_OF(enforcements); i++) {
        if (enforcements[i].enforce == enforce)
            return enforcements[i].name;
    }
    return "hard"; /* what a value from nowhere must be treated as */
}

bool
enforce_parse(const char *name, enum enforce *out)
{
    for (size_t i = 0; i < COUNT_OF(enforcements); i++) {
        if (strcmp(enforcements[i].name, name) == 0) {
            *out = enforcements[i].enforce;
            return true;
        }
    }
    return false;
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* A path being built. It always is "/" followed by whole segments, each with its "/", and then the
 * segment that is being read, from `segment` on. */
struct path {
    size_t length;
    size_t segment;
    char text[PATH_SIZE];
};

static bool
is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Where the path of an absolute form (RFC 9112 section 3.2.2) begins; `target` itself when it is
 * none. */
static const char *
skip_origin(const char *target)
{
    const char *c = target;

    if (!is_alpha(*c))
        return target;
    while (is_alpha(*c) || (*c >= '0' && *c <= '9') || *c == '+' || *c == '-' || *c == '.')
        c++;
    if (strncmp(c, "://", 3) != 0)
        return target;
    c += 3;
    return c + strcspn(c, "/?#");
}

/*
 * What a segment means. Servlet containers cut ";x" from a segment before they look for dots, so
 * "..;x" climbs there and nowhere else: a path whose meaning depends on the backend is refused.
 */
enum segment { SEGMENT_NAME, SEGMENT_EMPTY, SEGMENT_SAME, SEGMENT_PARENT, SEGMENT_AMBIGUOUS };

static enum segment
segment_meaning(const char *text, size_t length)
{
    size_t dots = 0;

    if (length == 0)
        return SEGMENT_EMPTY;
    while (dots < length && text[dots] == '.')
        dots++;
    if (dots == 0 || dots > 2)
        return SEGMENT_NAME;
    if (dots == length)
        return dots == 1 ? SEGMENT_SAME : SEGMENT_PARENT;
    return text[dots] == ';' ? SEGMENT_AMBIGUOUS : SEGMENT_NAME;
}

/* Remove the last whole segment; false at the root. */
static bool
climb(struct path *path)
{
    if (path->segment == 1)
        return false;
    path->segment--;
    while (path->text[path->segment - 1] != '/')
        path->segment--;
    path->length = path->segment;
    return true;
}

static enum status
end_segment(struct path *path, bool slash, struct error *err)
{
    switch (segment_meaning(path->text + path->segment, path->length - path->segment)) {
    case SEGMENT_AMBIGUOUS:
        return error_set(err, STATUS_INVALID, "the path has a dot segment with a parameter");
    case SEGMENT_PARENT:
        if (!climb(path))
            return error_set(err, STATUS_INVALID, "the path climbs above the root");
        return STATUS_OK;
    case SEGMENT_SAME:
        path->length = path->segment;
        return STATUS_OK;
    case SEGMENT_EMPTY:
        return STATUS_OK;
    case SEGMENT_NAME:
        break;
    }
    if (!slash)
        return STATUS_OK;
    if (path->length >= sizeof(path->text) - 1)
        return error_set(err, STATUS_INVALID, "the path is longer than %zu bytes",
                         sizeof(path->text) - 1);
    path->text[path->length++] = '/';
    path->segment = path->length;
    return STATUS_OK;
}

/* The byte at `*c`, percent-decoded once; moves `*c` past it. */
static enum status
next_byte(const char **c, char *out, struct error *err)
{
    bool escaped = **c == '%';

    *out = **c;
    if (escaped) {
        int high = hex_value((*c)[1]);
        int low = high < 0 ? -1 : hex_value((*c)[2]);

        if (low < 0)
            return error_set(err, STATUS_INVALID, "the path has a malformed percent escape");
        *out = (char)(unsigned char)(high * 16 + low);
        *c += 2;
    }
    *c += 1;
    if ((unsigned char)*out < 0x20 || *out == 0x7f)
        return error_set(err, STATUS_INVALID, "the path has a control byte");
    if (*out == '\\')
        return error_set(err, STATUS_INVALID, "the path has a backslash");
    if (escaped && *out == '/')
        return error_set(err, STATUS_INVALID, "the path has an escaped slash");
    return STATUS_OK;
}

/* Whether decoding once more would change the path: then two readers may see two paths. */
static bool
holds_escape(const char *text)
{
    for (const char *c = strchr(text, '%'); c != NULL; c = strchr(c + 1, '%')) {
        if (hex_value(c[1]) >= 0 && hex_value(c[2]) >= 0)
            return true;
    }
    return false;
}

static enum status
build_path(const char *c, struct path *path, struct error *err)
{
    enum status status;

    path->text[0] = '/';
    path->length = path->segment = 1;
    c++;
    while (*c != '\0' && *c != '?' && *c != '#') {
        char byte;

        status = next_byte(&c, &byte, err);
        if (status == STATUS_OK && byte == '/')
            status = end_segment(path, true, err);
        else if (status == STATUS_OK && path->length >= sizeof(path->text) - 1)
            status = error_set(err, STATUS_INVALID, "the path is longer than %zu bytes",
                               sizeof(path->text) - 1);
        else if (status == STATUS_OK)
            path->text[path->length++] = byte;
        if (status != STATUS_OK)
            return status;
    }
    status = end_segment(path, false, err);
    path->text[path->length] = '\0';
    return status;
}

enum status
policy_path_normalize(const char *target, struct buf *out, struct error *err)
{
    struct path path;
    enum status status;
    const char *start;

    buf_clear(out);
    start = skip_origin(target);
    if (*start != '/')
        return error_set(err, STATUS_INVALID, "the request target is not a path");
    for (const char *c = target; c < start; c++) {
        if ((unsigned char)*c <= 0x20 || *c == 0x7f || *c == '\\')
            return error_set(err, STATUS_INVALID, "the request target has a malformed origin");
    }
    status = build_path(start, &path, err);
    if (status != STATUS_OK)
        return status;
    if (holds_escape(path.text))
        return error_set(err, STATUS_INVALID, "the path is percent-encoded twice");
    buf_add_bytes(out, path.text, path.length);
    if (buf_failed(out)) {
        buf_clear(out);
        return error_set(err, STATUS_INVALID, "the path is longer than %zu bytes", out->size - 1);
    }
    return STATUS_OK;
}

/* ---- routes --------------------------------------------------------------------------------- */

/* The length of `prefix` without a final "/" when it covers `path`, else -1. */
static ptrdiff_t
prefix_covers(const char *prefix, const char *path)
{
    size_t i = 0;

    while (prefix[i] != '\0' && prefix[i] == path[i])
        i++;
    if (prefix[i] == '\0') {
        if (i > 0 && prefix[i - 1] == '/')
            return (ptrdiff_t)(i - 1);
        return path[i] == '\0' || path[i] == '/' ? (ptrdiff_t)i : -1;
    }
    /* "/api/" covers "/api" too */
    return prefix[i] == '/' && prefix[i + 1] == '\0' && path[i] == '\0' ? (ptrdiff_t)i : -1;
}

const struct route *
policy_route_find(const struct policy *policy, const char *path)
{
    const struct route *best = NULL;
    ptrdiff_t best_length = -1;

    for (size_t i = 0; i < policy->route_count; i++) {
        ptrdiff_t length = prefix_covers(policy->routes[i].prefix, path);

        if (length > best_length) {
            best_length = length;
            best = &policy->routes[i];
        }
    }
    return best;
}

const struct route *
policy_route_named(const struct policy *policy, const char *prefix)
{
    for (size_t i = 0; i < policy->route_count; i++) {
        if (strcmp(policy->routes[i].prefix, prefix) == 0)
            return &policy->routes[i];
    }
    return NULL;
}

/* ---- plans ---------------------------------------------------------------------------------- */

static bool
scalar_equals(const struct json *value, const char *text)
{
    const char *own = NULL;

    switch (json_type(value)) {
    case JSON_STRING:
        own = json_string(value);
        break;
    case JSON_NUMBER:
        own = json_number_text(value);
        break;
    case JSON_BOOLEAN:
        own = json_boolean(value, false) ? "true" : "false";
        break;
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return own != NULL && strcmp(own, text) == 0;
}

/* Whether `match`, "path=text", holds in `object`. */
static bool
match_holds(const char *match, const struct json *object)
{
    char path[PLAN_MATCH_SIZE];
    const char *equals = strchr(match, '=');
    const struct json *value;
    size_t length;

    assert(equals != NULL && (size_t)(equals - match) < sizeof(path)); /* the settings checked it */
    length = (size_t)(equals - match);
    memcpy(path, match, length);
    path[length] = '\0';
    value = json_path(object, path);
    if (json_type(value) != JSON_ARRAY)
        return scalar_equals(value, equals + 1);
    for (size_t i = 0; i < json_count(value); i++) {
        if (scalar_equals(json_element(value, i), equals + 1))
            return true;
    }
    return false;
}

const struct plan *
policy_plan_match(const struct policy *policy, const struct json *object)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        const struct plan *plan = &policy->plans[i];

        for (size_t j = 0; j < plan->match_count; j++) {
            if (match_holds(plan->matches[j], object))
                return plan;
        }
    }
    return policy_plan_named(policy, policy->default_plan);
}

const struct plan *
policy_plan_named(const struct policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        if (strcmp(policy->plans[i].name, name) == 0)
            return &policy->plans[i];
    }
    return NULL;
}

/* ---- scopes and holds ----------------------------------------------------------------------- */

static bool
scope_covers(const char *granted, const char *scope)
{
    size_t length = strlen(granted);

    if (length > 0 && granted[length - 1] == '*')
        return strncmp(granted, scope, length - 1) == 0;
    return strcmp(granted, scope) == 0;
}

bool
policy_scope_granted(const struct scope_set *granted, const char *scope)
{
    for (size_t i = 0; i < granted->count; i++) {
        if (scope_covers(granted->names[i], scope))
            return true;
    }
    return false;
}

const char *
policy_scope_missing(const struct scope_set *granted, const struct scope_set *required)
{
    for (size_t i = 0; i < required->count; i++) {
        if (!policy_scope_granted(granted, required->names[i]))
            return required->names[i];
    }
    return NULL;
}

const struct hold_rule *
policy_hold_rule(const struct plan *plan, const struct route *route)
{
    if (route != NULL && route->free)
        return NULL;
    if (route != NULL && route->hold.set)
        return &route->hold;
    if (plan != NULL && plan->hold.set)
        return &plan->hold;
    return NULL;
}

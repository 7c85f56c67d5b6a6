/* SPDX-License-Identifier: MIT */
/* Paths, routes, plans and scopes: what matches, what never may, what is refused. */
#include "common/policy.h"

#include "common/json.h"

#include "tests/check.h"

#include "common/banned.h"

static void
check_path(const char *target, const char *want)
{
    char storage[PATH_SIZE];
    struct buf out;
    struct error err = { 0 };

    buf_init(&out, storage, sizeof(storage));
    CHECK_STATUS(STATUS_OK, policy_path_normalize(target, &out, &err), &err);
    CHECK_STRING(target, want, buf_text(&out));
}

static void
check_path_refused(const char *target, const char *message)
{
    char storage[PATH_SIZE];
    struct buf out;
    struct error err = { 0 };

    buf_init(&out, storage, sizeof(storage));
    buf_add(&out, "/old");
    CHECK_STATUS(STATUS_INVALID, policy_path_normalize(target, &out, &err), &err);
    CHECK_STRING(target, message, err.message);
    CHECK_STRING(target, "", buf_text(&out));
}

static void
test_path_is_kept_when_it_is_normal(void)
{
    check_path("/", "/");
    check_path("/api/chat", "/api/chat");
    check_path("/api/chat/", "/api/chat/");
    check_path("/a;v=1/.hidden/..x/...", "/a;v=1/.hidden/..x/...");
    check_path("/\xc3\xa9", "/\xc3\xa9");
}

static void
test_path_loses_query_and_fragment(void)
{
    check_path("/a?b=/../c", "/a");
    check_path("/a#/../c", "/a");
    check_path("/a?%zz\\", "/a");
    check_path("/?", "/");
}

static void
test_path_escapes_are_decoded_once(void)
{
    check_path("/%61%50%69", "/aPi");
    check_path("/a%20b", "/a b");
    check_path("/a%3Fb%23c", "/a?b#c");
    check_path("/100%25", "/100%");
    check_path("/100%25%20", "/100% ");
    check_path("/%C3%A9", "/\xc3\xa9");
}

static void
test_path_slashes_and_dots_are_resolved(void)
{
    check_path("//", "/");
    check_path("//a///b//", "/a/b/");
    check_path("/./a/./b", "/a/b");
    check_path("/a/../b", "/b");
    check_path("/a/b/../../c", "/c");
    check_path("/a//../b", "/b");
    check_path("/a/%2e%2E/b", "/b");
    check_path("/a/.%2e/b", "/b");
}

static void
test_path_trailing_dot_segments_leave_a_slash(void)
{
    check_path("/.", "/");
    check_path("/a/.", "/a/");
    check_path("/a/..", "/");
    check_path("/a/b/..", "/a/");
    check_path("/a/b/../", "/a/");
}

static void
test_path_of_an_absolute_form_is_its_path(void)
{
    check_path("http://example.com/a/b?c", "/a/b");
    check_path("HTTPS://user@example.com:8443/", "/");
    check_path("http:///a", "/a");
    check_path("x+y-1.0://h/a", "/a");
}

static void
test_path_refuses_what_is_no_path(void)
{
    check_path_refused("", "the request target is not a path");
    check_path_refused("*", "the request target is not a path");
    check_path_refused("example.com:443", "the request target is not a path");
    check_path_refused("a/b", "the request target is not a path");
    check_path_refused("http://example.com", "the request target is not a path");
    check_path_refused("http://example.com?/a", "the request target is not a path");
    check_path_refused("http:/a", "the request target is not a path");
    check_path_refused("1http://h/a", "the request target is not a path");
    check_path_refused("?a", "the request target is not a path");
    check_path_refused(" /a", "the request target is not a path");
    check_path_refused("http://h\\/a", "the request target has a malformed origin");
    check_path_refused("http://h /a", "the request target has a malformed origin");
    check_path_refused("http://h\x7f/a", "the request target has a malformed origin");
}

static void
test_path_refuses_a_malformed_escape(void)
{
    check_path_refused("/%", "the path has a malformed percent escape");
    check_path_refused("/%4", "the path has a malformed percent escape");
    check_path_refused("/%4g", "the path has a malformed percent escape");
    check_path_refused("/%g4", "the path has a malformed percent escape");
    check_path_refused("/%u0041", "the path has a malformed percent escape");
    check_path_refused("/%%41", "the path has a malformed percent escape");
}

static void
test_path_refuses_control_bytes(void)
{
    check_path_refused("/a%00", "the path has a control byte");
    check_path_refused("/a%0a", "the path has a control byte");
    check_path_refused("/a%7F", "the path has a control byte");
    check_path_refused("/a\tb", "the path has a control byte");
    check_path_refused("/a\x7f", "the path has a control byte");
}

static void
test_path_refuses_hidden_separators(void)
{
    check_path_refused("/a\\..\\b", "the path has a backslash");
    check_path_refused("/a%5Cb", "the path has a backslash");
    check_path_refused("/a%2Fb", "the path has an escaped slash");
    check_path_refused("/a%2f..", "the path has an escaped slash");
}

static void
test_path_refuses_double_encoding(void)
{
    check_path_refused("/%252e%252e/a", "the path is percent-encoded twice");
    check_path_refused("/a%252F", "the path is percent-encoded twice");
    check_path_refused("/%25%32%46", "the path is percent-encoded twice");
    check_path_refused("/%2525%2541", "the path is percent-encoded twice");
}

static void
test_path_refuses_to_climb_above_the_root(void)
{
    check_path_refused("/..", "the path climbs above the root");
    check_path_refused("/../a", "the path climbs above the root");
    check_path_refused("/a/../../b", "the path climbs above the root");
    check_path_refused("//..", "the path climbs above the root");
    check_path_refused("http://h/..", "the path climbs above the root");
}

static void
test_path_refuses_dot_segments_with_a_parameter(void)
{
    check_path_refused("/free/..;/paid", "the path has a dot segment with a parameter");
    check_path_refused("/free/.;x=1", "the path has a dot segment with a parameter");
    check_path_refused("/free/%2e.%3Bx/paid", "the path has a dot segment with a parameter");
}

/* The longest path fits to the byte; one byte more, also where a "/" would be it, is refused. */
static void
test_path_length_has_a_limit(void)
{
    static char target[PATH_SIZE + 16];

    memset(target, 'a', sizeof(target));
    target[0] = '/';
    target[PATH_SIZE - 1] = '\0';
    check_path(target, target);
    target[PATH_SIZE - 1] = 'a';
    target[PATH_SIZE] = '\0';
    check_path_refused(target, "the path is longer than 4095 bytes");
    target[PATH_SIZE - 1] = '/';
    check_path_refused(target, "the path is longer than 4095 bytes");
}

static void
test_path_that_does_not_fit_the_buffer_is_refused(void)
{
    char storage[8];
    struct buf out;
    struct error err = { 0 };

    buf_init(&out, storage, sizeof(storage));
    CHECK_STATUS(STATUS_INVALID, policy_path_normalize("/1234567", &out, &err), &err);
    CHECK_STRING("small buffer", "the path is longer than 7 bytes", err.message);
    CHECK_FALSE("usable again", buf_failed(&out));
    CHECK_STATUS(STATUS_OK, policy_path_normalize("/123456", &out, &err), &err);
}

static void
check_route(const struct policy *policy, const char *path, const char *want)
{
    const struct route *route = policy_route_find(policy, path);

    CHECK_STRING(path, want, route == NULL ? NULL : route->prefix);
}

static void
test_route_is_the_longest_prefix_on_whole_segments(void)
{
    static struct route routes[] = {
        { .prefix = "/api/" },
        { .prefix = "/api/chat" },
        { .prefix = "/apix" },
        { .prefix = "/api/chat/long/" },
    };
    const struct policy policy = { .routes = routes, .route_count = CHECK_COUNT(routes) };

    check_route(&policy, "/api", "/api/");
    check_route(&policy, "/api/", "/api/");
    check_route(&policy, "/api/other", "/api/");
    check_route(&policy, "/api/chat", "/api/chat");
    check_route(&policy, "/api/chat/", "/api/chat");
    check_route(&policy, "/api/chat/1", "/api/chat");
    check_route(&policy, "/api/chatty", "/api/");
    check_route(&policy, "/api/chat/long", "/api/chat/long/");
    check_route(&policy, "/api/chat/longer", "/api/chat");
    check_route(&policy, "/apix", "/apix");
    check_route(&policy, "/apixy", NULL);
    check_route(&policy, "/ap", NULL);
    check_route(&policy, "/", NULL);
    check_route(&policy, "/API/chat", NULL);
}

static void
test_route_root_covers_everything(void)
{
    static struct route routes[] = { { .prefix = "/" }, { .prefix = "/a" } };
    const struct policy policy = { .routes = routes, .route_count = CHECK_COUNT(routes) };

    check_route(&policy, "/", "/");
    check_route(&policy, "/b/c", "/");
    check_route(&policy, "/a", "/a");
}

static void
test_route_named_is_exact(void)
{
    static struct route routes[] = { { .prefix = "/api/" }, { .prefix = "/b" } };
    const struct policy policy = { .routes = routes, .route_count = CHECK_COUNT(routes) };

    CHECK_TRUE("found", policy_route_named(&policy, "/b") == &routes[1]);
    CHECK_TRUE("shorter", policy_route_named(&policy, "/api") == NULL);
    CHECK_TRUE("longer", policy_route_named(&policy, "/api/x") == NULL);
    CHECK_TRUE("empty", policy_route_named(&policy, "") == NULL);
}

static struct plan plans[] = {
    { .name = "team", .match_count = 1, .matches = { "claims.teams=red" } },
    { .name = "pro", .match_count = 2, .matches = { "claims.tier=pro", "pla=u:pro" } },
    { .name = "numbers",
      .match_count = 4,
      .matches = { "claims.level=3", "claims.beta=true", "claims.off=false", "claims.x=a=b" } },
    { .name = "free" },
};

static void
check_plan(const char *default_plan, const char *object, const char *want)
{
    struct policy policy = { .plans = plans, .plan_count = CHECK_COUNT(plans) };
    struct json *json = NULL;
    const struct plan *plan;
    struct error err = { 0 };

    CHECK_TRUE("fits", text_copy(policy.default_plan, sizeof(policy.default_plan), default_plan));
    CHECK_STATUS(STATUS_OK, json_parse(object, strlen(object), &json, &err), &err);
    plan = policy_plan_match(&policy, json);
    CHECK_STRING(object, want, plan == NULL ? NULL : plan->name);
    json_free(json);
}

static void
test_plan_matches_text_at_a_path(void)
{
    check_plan("", "{\"claims\":{\"tier\":\"pro\"}}", "pro");
    check_plan("", "{\"pla\":\"u:pro\"}", "pro");
    check_plan("", "{\"claims\":{\"tier\":\"Pro\"}}", NULL);
    check_plan("", "{\"claims\":{\"tier\":\"pro \"}}", NULL);
    check_plan("", "{\"tier\":\"pro\"}", NULL);
    check_plan("", "{\"claims\":{\"x\":\"a=b\"}}", "numbers");
}

static void
test_plan_matches_numbers_and_booleans_as_text(void)
{
    check_plan("", "{\"claims\":{\"level\":3}}", "numbers");
    check_plan("", "{\"claims\":{\"level\":\"3\"}}", "numbers");
    check_plan("", "{\"claims\":{\"level\":3.0}}", NULL);
    check_plan("", "{\"claims\":{\"beta\":true}}", "numbers");
    check_plan("", "{\"claims\":{\"beta\":false}}", NULL);
    check_plan("", "{\"claims\":{\"off\":false}}", "numbers");
}

static void
test_plan_matches_when_one_element_of_an_array_equals(void)
{
    check_plan("", "{\"claims\":{\"teams\":[\"blue\",\"red\"]}}", "team");
    check_plan("", "{\"claims\":{\"teams\":\"red\"}}", "team");
    check_plan("", "{\"claims\":{\"teams\":[\"blue\"]}}", NULL);
    check_plan("", "{\"claims\":{\"teams\":[]}}", NULL);
    check_plan("", "{\"claims\":{\"teams\":[[\"red\"],{\"red\":\"red\"},null]}}", NULL);
    check_plan("", "{\"claims\":{\"level\":[1,3]}}", "numbers");
}

static void
test_plan_does_not_match_null_objects_or_what_is_missing(void)
{
    check_plan("", "{\"claims\":{\"tier\":null,\"teams\":{}}}", NULL);
    check_plan("", "{\"claims\":\"tier=pro\"}", NULL);
    check_plan("", "{}", NULL);
    check_plan("", "[\"pro\"]", NULL);
}

static void
test_plan_first_in_file_order_wins_then_the_default(void)
{
    check_plan("free", "{\"claims\":{\"tier\":\"pro\",\"teams\":[\"red\"]}}", "team");
    check_plan("free", "{\"claims\":{\"tier\":\"pro\",\"level\":3}}", "pro");
    check_plan("free", "{\"claims\":{\"tier\":\"none\"}}", "free");
    check_plan("", "{\"claims\":{\"tier\":\"none\"}}", NULL);
}

static void
test_plan_without_an_object_is_the_default(void)
{
    const struct policy policy = { .plans = plans,
                                   .plan_count = CHECK_COUNT(plans),
                                   .default_plan = "free" };

    CHECK_TRUE("default", policy_plan_match(&policy, NULL) == &plans[3]);
    CHECK_TRUE("named", policy_plan_named(&policy, "pro") == &plans[1]);
    CHECK_TRUE("unknown", policy_plan_named(&policy, "pr") == NULL);
}

static void
test_scope_is_granted_exactly_or_by_a_final_star(void)
{
    const struct scope_set granted = { 3, { "proxy.*", "read", "a*b" } };

    CHECK_TRUE("below", policy_scope_granted(&granted, "proxy.chat"));
    CHECK_TRUE("empty rest", policy_scope_granted(&granted, "proxy."));
    CHECK_FALSE("shorter", policy_scope_granted(&granted, "proxy"));
    CHECK_TRUE("exact", policy_scope_granted(&granted, "read"));
    CHECK_FALSE("longer", policy_scope_granted(&granted, "readx"));
    CHECK_FALSE("case", policy_scope_granted(&granted, "Read"));
    CHECK_FALSE("star inside", policy_scope_granted(&granted, "axb"));
    CHECK_FALSE("a star asked for", policy_scope_granted(&granted, "*"));
}

static void
test_scope_star_alone_grants_everything_and_nothing_grants_nothing(void)
{
    const struct scope_set all = { 1, { "*" } };
    const struct scope_set none = { 0 };
    const struct scope_set empty = { 1, { "" } };

    CHECK_TRUE("all", policy_scope_granted(&all, "x"));
    CHECK_FALSE("none", policy_scope_granted(&none, "x"));
    CHECK_FALSE("an empty name", policy_scope_granted(&empty, "x"));
}

static void
test_scope_missing_names_the_first_one(void)
{
    const struct scope_set granted = { 1, { "a" } };
    const struct scope_set required = { 3, { "a", "b", "c" } };
    const struct scope_set none = { 0 };

    CHECK_STRING("missing", "b", policy_scope_missing(&granted, &required));
    CHECK_STRING("none required", NULL, policy_scope_missing(&none, &none));
    CHECK_STRING("all granted", NULL, policy_scope_missing(&required, &granted));
}

static void
test_hold_rule_of_the_route_wins_over_the_plan(void)
{
    const struct plan plan = { .hold = { .set = true, .nanos = 1 } };
    const struct plan bare_plan = { .name = "bare" };
    const struct route route = { .hold = { .set = true, .nanos = 0 } };
    const struct route bare_route = { .prefix = "/" };

    CHECK_TRUE("route", policy_hold_rule(&plan, &route) == &route.hold);
    CHECK_TRUE("plan", policy_hold_rule(&plan, &bare_route) == &plan.hold);
    CHECK_TRUE("no route", policy_hold_rule(&plan, NULL) == &plan.hold);
    CHECK_TRUE("no plan", policy_hold_rule(NULL, &route) == &route.hold);
    CHECK_TRUE("none", policy_hold_rule(&bare_plan, &bare_route) == NULL);
    CHECK_TRUE("neither", policy_hold_rule(NULL, NULL) == NULL);
}

static void
test_names_of_kinds_and_enforcement_round_trip(void)
{
    static const char *const kinds[] = { "api_key", "m2m_token", "session_token", "oauth_token" };
    static const char *const enforcements[] = { "hard", "warn", "off" };
    enum credential_kind kind = CREDENTIAL_NONE;
    enum enforce enforce = ENFORCE_OFF;

    for (size_t i = 0; i < CHECK_COUNT(kinds); i++) {
        CHECK_TRUE("kind", credential_kind_parse(kinds[i], &kind));
        CHECK_INT(kinds[i], 1 << i, kind);
        CHECK_STRING("kind", kinds[i], credential_kind_name(kind));
    }
    CHECK_FALSE("unknown", credential_kind_parse("none", &kind));
    CHECK_STRING("none", "none", credential_kind_name(CREDENTIAL_NONE));
    for (size_t i = 0; i < CHECK_COUNT(enforcements); i++) {
        CHECK_TRUE("enforce", enforce_parse(enforcements[i], &enforce));
        CHECK_INT(enforcements[i], i, enforce);
        CHECK_STRING("enforce", enforcements[i], enforce_name(enforce));
    }
    CHECK_FALSE("unknown", enforce_parse("HARD", &enforce));
    CHECK_STRING("a value from nowhere is hard", "hard", enforce_name((enum enforce)9));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_path_is_kept_when_it_is_normal),
        CHECK_TEST(test_path_loses_query_and_fragment),
        CHECK_TEST(test_path_escapes_are_decoded_once),
        CHECK_TEST(test_path_slashes_and_dots_are_resolved),
        CHECK_TEST(test_path_trailing_dot_segments_leave_a_slash),
        CHECK_TEST(test_path_of_an_absolute_form_is_its_path),
        CHECK_TEST(test_path_refuses_what_is_no_path),
        CHECK_TEST(test_path_refuses_a_malformed_escape),
        CHECK_TEST(test_path_refuses_control_bytes),
        CHECK_TEST(test_path_refuses_hidden_separators),
        CHECK_TEST(test_path_refuses_double_encoding),
        CHECK_TEST(test_path_refuses_to_climb_above_the_root),
        CHECK_TEST(test_path_refuses_dot_segments_with_a_parameter),
        CHECK_TEST(test_path_length_has_a_limit),
        CHECK_TEST(test_path_that_does_not_fit_the_buffer_is_refused),
        CHECK_TEST(test_route_is_the_longest_prefix_on_whole_segments),
        CHECK_TEST(test_route_root_covers_everything),
        CHECK_TEST(test_route_named_is_exact),
        CHECK_TEST(test_plan_matches_text_at_a_path),
        CHECK_TEST(test_plan_matches_numbers_and_booleans_as_text),
        CHECK_TEST(test_plan_matches_when_one_element_of_an_array_equals),
        CHECK_TEST(test_plan_does_not_match_null_objects_or_what_is_missing),
        CHECK_TEST(test_plan_first_in_file_order_wins_then_the_default),
        CHECK_TEST(test_plan_without_an_object_is_the_default),
        CHECK_TEST(test_scope_is_granted_exactly_or_by_a_final_star),
        CHECK_TEST(test_scope_star_alone_grants_everything_and_nothing_grants_nothing),
        CHECK_TEST(test_scope_missing_names_the_first_one),
        CHECK_TEST(test_hold_rule_of_the_route_wins_over_the_plan),
        CHECK_TEST(test_names_of_kinds_and_enforcement_round_trip),
    };

    return check_main("policy", tests, CHECK_COUNT(tests));
}

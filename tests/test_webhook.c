/* SPDX-License-Identifier: MIT */
/* Clerk's webhooks: whose word it is, and what it asks for. */
#include "tracker/webhook.h"

#include "common/clock.h"
#include "common/crypto.h"

#include "tests/check.h"

#include <stdio.h>
#include <string.h>

#include "common/banned.h"

/* Svix's published vector. */
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define MESSAGE "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define SENT_S INT64_C(1614265330)
#define SENT "1614265330"
#define BODY "{\"test\": 2432232314}"
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static enum webhook_check
verify_with(const char *secret_text, const char *id, const char *timestamp, const char *signatures,
            const char *body, int64_t now_s)
{
    const struct webhook_headers headers = { id, timestamp, signatures };
    static struct secret secret;
    struct error err;

    secret_clear(&secret);
    if (*secret_text != '\0')
        CHECK_STATUS(STATUS_OK, secret_set(&secret, secret_text, strlen(secret_text), &err), &err);
    return webhook_verify(&secret, &headers, body, strlen(body), now_s * US_PER_SECOND);
}

static enum webhook_check
verify(const char *signatures)
{
    return verify_with(SECRET, MESSAGE, SENT, signatures, BODY, SENT_S);
}

static void
test_known_answer_is_signed(void)
{
    CHECK_INT("vector", WEBHOOK_SIGNED, verify(SIGNATURE));
    CHECK_INT("without prefix", WEBHOOK_SIGNED,
              verify_with(&SECRET[6], MESSAGE, SENT, SIGNATURE, BODY, SENT_S));
}

static void
test_one_of_several_signatures_suffices(void)
{
    CHECK_INT("last", WEBHOOK_SIGNED,
              verify("v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1a,xyz " SIGNATURE));
    CHECK_INT("first", WEBHOOK_SIGNED, verify(SIGNATURE " v2,AAAA"));
    CHECK_INT("none", WEBHOOK_FORGED,
              verify("v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1,"));
}

static void
test_other_versions_and_damaged_entries_do_not_count(void)
{
    CHECK_INT("version", WEBHOOK_FORGED, verify("v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    CHECK_INT("no version", WEBHOOK_FORGED, verify("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    CHECK_INT("short", WEBHOOK_FORGED, verify("v1,g0hM9SsE"));
    CHECK_INT("no padding", WEBHOOK_FORGED,
              verify("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE"));
    CHECK_INT("longer", WEBHOOK_FORGED, verify(SIGNATURE "AAAA"));
    CHECK_INT("empty", WEBHOOK_FORGED, verify(""));
}

static void
test_every_signed_part_is_bound(void)
{
    CHECK_INT("id", WEBHOOK_FORGED, verify_with(SECRET, "msg_2", SENT, SIGNATURE, BODY, SENT_S));
    CHECK_INT("time", WEBHOOK_FORGED,
              verify_with(SECRET, MESSAGE, "1614265331", SIGNATURE, BODY, SENT_S));
    CHECK_INT("body", WEBHOOK_FORGED,
              verify_with(SECRET, MESSAGE, SENT, SIGNATURE, "{\"test\":2432232314}", SENT_S));
    CHECK_INT("secret", WEBHOOK_FORGED,
              verify_with("whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", MESSAGE, SENT, SIGNATURE, BODY,
                          SENT_S));
}

static void
test_five_minutes_either_way(void)
{
    static const int64_t off_s[] = { -301, -300, 0, 300, 301 };
    static const enum webhook_check want[] = { WEBHOOK_FORGED, WEBHOOK_SIGNED, WEBHOOK_SIGNED,
                                               WEBHOOK_SIGNED, WEBHOOK_FORGED };

    for (size_t i = 0; i < 5; i++)
        CHECK_INT("off", want[i],
                  verify_with(SECRET, MESSAGE, SENT, SIGNATURE, BODY, SENT_S + off_s[i]));
    CHECK_INT("no number", WEBHOOK_FORGED,
              verify_with(SECRET, MESSAGE, "1614265330x", SIGNATURE, BODY, SENT_S));
    CHECK_INT("sign", WEBHOOK_FORGED,
              verify_with(SECRET, MESSAGE, "-1614265330", SIGNATURE, BODY, SENT_S));
}

static void
test_missing_headers_are_no_signature(void)
{
    CHECK_INT("id", WEBHOOK_FORGED, verify_with(SECRET, NULL, SENT, SIGNATURE, BODY, SENT_S));
    CHECK_INT("empty id", WEBHOOK_FORGED, verify_with(SECRET, "", SENT, SIGNATURE, BODY, SENT_S));
    CHECK_INT("time", WEBHOOK_FORGED, verify_with(SECRET, MESSAGE, NULL, SIGNATURE, BODY, SENT_S));
    CHECK_INT("signature", WEBHOOK_FORGED, verify(NULL));
}

static void
test_without_a_usable_secret_nothing_is_signed(void)
{
    static const char *const secrets[] = { "", "whsec_", "whsec_AAAA", "whsec_not base64!" };

    for (size_t i = 0; i < CHECK_COUNT(secrets); i++)
        CHECK_INT("secret", WEBHOOK_NO_SECRET,
                  verify_with(secrets[i], MESSAGE, SENT, SIGNATURE, BODY, SENT_S));
}

/* ---- events --------------------------------------------------------------------------------- */

static struct webhook_event event;

static enum status
read_text(const char *body, struct error *err)
{
    return webhook_read(body, strlen(body), &event, err);
}

/* The actions as text: "freeze user_1, reverify user_1". */
static const char *
actions_of(const char *body)
{
    static char storage[512];
    struct error err = { 0 };
    struct buf text;

    CHECK_STATUS(STATUS_OK, read_text(body, &err), &err);
    buf_init(&text, storage, sizeof(storage));
    for (size_t i = 0; i < event.action_count; i++) {
        enum account_change change = event.actions[i].change;

        buf_add(&text, i > 0 ? ", " : "");
        buf_add(&text, change == ACCOUNT_FREEZE   ? "freeze "
                       : change == ACCOUNT_REVOKE ? "revoke "
                                                  : "reverify ");
        buf_add(&text, event.actions[i].account);
    }
    return buf_text(&text);
}

static void
test_deleted_and_banned_are_frozen(void)
{
    CHECK_STRING("user", "freeze user_1",
                 actions_of("{\"type\":\"user.deleted\",\"data\":{\"id\":\"user_1\"}}"));
    CHECK_STRING("organization", "freeze org_1",
                 actions_of("{\"type\":\"organization.deleted\",\"data\":{\"id\":\"org_1\"}}"));
    CHECK_STRING(
        "banned", "freeze user_1, reverify user_1",
        actions_of("{\"type\":\"user.updated\",\"data\":{\"id\":\"user_1\",\"banned\":true}}"));
}

static void
test_an_update_is_verified_again(void)
{
    CHECK_STRING(
        "user", "reverify user_1",
        actions_of("{\"type\":\"user.updated\",\"data\":{\"id\":\"user_1\",\"banned\":false}}"));
    CHECK_STRING("member", "reverify user_1",
                 actions_of("{\"type\":\"organizationMembership.deleted\",\"data\":{"
                            "\"organization\":{\"id\":\"org_1\"},"
                            "\"public_user_data\":{\"user_id\":\"user_1\"}}}"));
    CHECK_STRING("payer", "reverify user_1",
                 actions_of("{\"type\":\"subscription.updated\",\"data\":{\"payer\":{"
                            "\"user_id\":\"user_1\"}}}"));
    CHECK_STRING("paying organization", "reverify org_1",
                 actions_of("{\"type\":\"subscriptionItem.canceled\",\"data\":{\"payer\":{"
                            "\"user_id\":null,\"organization_id\":\"org_1\"}}}"));
    CHECK_STRING("no payer", "",
                 actions_of("{\"type\":\"subscription.created\",\"data\":{\"id\":\"csub_1\"}}"));
}

static void
test_an_ended_session_is_revoked(void)
{
    static const char *const ends[] = { "ended", "removed", "revoked" };
    char body[128];

    for (size_t i = 0; i < CHECK_COUNT(ends); i++) {
        (void)snprintf(body, sizeof(body), "{\"type\":\"session.%s\",\"data\":{\"id\":\"sess_1\"}}",
                       ends[i]);
        CHECK_STRING("session", "revoke key:sess_1", actions_of(body));
    }
    CHECK_STRING("created", "",
                 actions_of("{\"type\":\"session.created\",\"data\":{\"id\":\"sess_1\"}}"));
}

static void
test_other_events_ask_for_nothing(void)
{
    CHECK_STRING("role", "",
                 actions_of("{\"type\":\"role.updated\",\"data\":{\"id\":\"role_1\"}}"));
    CHECK_STRING("unknown", "", actions_of("{\"type\":\"x.y\"}"));
    CHECK_STRING("longer", "", actions_of("{\"type\":\"user.deleted2\",\"data\":null}"));
    CHECK_STRING("shorter", "", actions_of("{\"type\":\"subscription\",\"data\":null}"));
}

static void
check_refused(const char *what, const char *body, const char *message)
{
    struct error err = { 0 };

    CHECK_INT(what, STATUS_INVALID, read_text(body, &err));
    if (message != NULL)
        CHECK_STRING(what, message, err.message);
    CHECK_INT(what, 0, event.action_count);
}

static void
test_events_that_name_nobody_are_refused(void)
{
    static const char nobody[] = "data: does not name whom the event is about";

    check_refused("no data", "{\"type\":\"user.deleted\"}", nobody);
    check_refused("number", "{\"type\":\"user.deleted\",\"data\":{\"id\":5}}", nobody);
    check_refused("another kind", "{\"type\":\"user.deleted\",\"data\":{\"id\":\"org_1\"}}",
                  nobody);
    check_refused("prefix alone", "{\"type\":\"session.ended\",\"data\":{\"id\":\"sess_\"}}",
                  nobody);
    check_refused("slash", "{\"type\":\"user.deleted\",\"data\":{\"id\":\"user_/\"}}", nobody);
    check_refused("banned nobody", "{\"type\":\"user.updated\",\"data\":{\"banned\":true}}",
                  nobody);
    check_refused("no type", "{\"data\":{}}", "type: has to name the event");
    check_refused("type is a list", "{\"type\":[]}", "type: has to name the event");
    check_refused("a list", "[]", "type: has to name the event");
    check_refused("no JSON", "{", NULL);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_known_answer_is_signed),
        CHECK_TEST(test_one_of_several_signatures_suffices),
        CHECK_TEST(test_other_versions_and_damaged_entries_do_not_count),
        CHECK_TEST(test_every_signed_part_is_bound),
        CHECK_TEST(test_five_minutes_either_way),
        CHECK_TEST(test_missing_headers_are_no_signature),
        CHECK_TEST(test_without_a_usable_secret_nothing_is_signed),
        CHECK_TEST(test_deleted_and_banned_are_frozen),
        CHECK_TEST(test_an_update_is_verified_again),
        CHECK_TEST(test_an_ended_session_is_revoked),
        CHECK_TEST(test_other_events_ask_for_nothing),
        CHECK_TEST(test_events_that_name_nobody_are_refused),
    };

    return check_main("webhook", tests, CHECK_COUNT(tests));
}

/* SPDX-License-Identifier: MIT */
/* The body of Clerk's 200 to an API key's verification: what is believed can be counted, cached and
 * put into headers. */
#include <assert.h>
#include <string.h>

#include "authorizer/verifier.h"
#include "common/clock.h"
#include "common/ledger.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define NOW_US (INT64_C(1767225600) * US_PER_SECOND)

static struct settings settings;
static struct plan plans[] = {
    { .name = "pro", .match_count = 1, .matches = { "claims.tier=pro" } },
    { .name = "free", .parent_claim = "claims.team" }
};

static void
set_up(void)
{
    static const char *const wanted[] = { "tier", "team", "list", "a.b", "Weird-Name" };

    settings.clerk.accept = CREDENTIAL_API_KEY;
    settings.policy.plans = plans;
    settings.policy.plan_count = 2;
    memcpy(settings.policy.default_plan, "free", sizeof("free"));
    settings.clerk.pass_claims.count = sizeof(wanted) / sizeof(wanted[0]);
    for (size_t i = 0; i < settings.clerk.pass_claims.count; i++)
        memcpy(settings.clerk.pass_claims.items[i], wanted[i], strlen(wanted[i]) + 1);
}

static void
check_claims(const struct identity *identity)
{
    const char *name;
    const char *value;
    size_t offset = 0;

    while (identity_claim_next(identity, &offset, &name, &value)) {
        assert(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(name));
        assert(strlen(value) <= IDENTITY_CLAIM_MAX && strpbrk(value, "\r\n") == NULL);
    }
    assert(offset == identity->claims_length);
}

static void
check_identity(const struct identity *identity)
{
    static char bytes[IDENTITY_ENCODED_SIZE];
    static struct identity again;
    struct buf encoded;

    assert(identity->kind == CREDENTIAL_API_KEY && identity->expires_us > NOW_US);
    assert(account_name_valid(identity->subject) && strncmp(identity->subject, "mch_", 4) != 0);
    assert(account_name_valid(identity->key_id));
    assert(identity->organization[0] == '\0' || strncmp(identity->organization, "org_", 4) == 0);
    assert(identity->parent[0] == '\0' || account_name_valid(identity->parent));
    assert(strcmp(identity->plan, "pro") == 0 || strcmp(identity->plan, "free") == 0);
    check_claims(identity);
    buf_init(&encoded, bytes, sizeof(bytes));
    identity_encode(identity, &encoded);
    assert(!buf_failed(&encoded));
    assert(identity_decode(bytes, encoded.length, &again, NULL) == STATUS_OK);
    assert(strcmp(again.subject, identity->subject) == 0);
    assert(again.claims_length == identity->claims_length);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct verifier_finding finding;
    struct clerk_answer answer = { .outcome = CLERK_ANSWERED,
                                   .http_status = 200,
                                   .json = true,
                                   .body = (const char *)data,
                                   .body_length = size };

    if (settings.policy.plans == NULL)
        set_up();
    finding.valid = true;
    if (verifier_opaque_read(CREDENTIAL_API_KEY, &answer, &settings, NOW_US, &finding, NULL) !=
        STATUS_OK)
        assert(!finding.valid);
    if (finding.valid)
        check_identity(&finding.identity);
    fuzz_result(finding.valid);
    return 0;
}

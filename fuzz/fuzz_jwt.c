/* SPDX-License-Identifier: MIT */
/* A JWT as text, and its claims as if the signature were good: what is believed can be counted and
 * put into headers. The corpus cannot be signed, so the claims are judged without. */
#include <assert.h>
#include <string.h>

#include "authorizer/jwks.h"
#include "authorizer/jwt.h"
#include "authorizer/verifier.h"
#include "common/clock.h"
#include "common/ledger.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define NOW_US (INT64_C(1767225600) * US_PER_SECOND)

static struct settings settings;
static struct plan plan = { .name = "free", .parent_claim = "team" };

static void
set_up(void)
{
    settings.clerk.clock_skew_us = 5 * US_PER_SECOND;
    settings.clerk.key_scopes = true;
    memcpy(settings.clerk.issuer, "https://clerk.example.com", 26);
    memcpy(settings.clerk.machine_id, "mch_2zyxwvutsrqponmlkjihgfedcba", 32);
    settings.policy.plans = &plan;
    settings.policy.plan_count = 1;
    memcpy(settings.policy.default_plan, "free", sizeof("free"));
    settings.clerk.pass_claims.count = 1;
    memcpy(settings.clerk.pass_claims.items[0], "fva", 4);
}

static void
check_identity(enum credential_kind kind, const struct identity *identity)
{
    static char bytes[IDENTITY_ENCODED_SIZE];
    static struct identity again;
    struct buf encoded;

    assert(identity->kind == kind && identity->expires_us > NOW_US);
    assert(account_name_valid(identity->subject) && account_name_valid(identity->key_id));
    assert((strncmp(identity->subject, "mch_", 4) == 0) == (kind == CREDENTIAL_M2M_TOKEN));
    assert(identity->organization[0] == '\0' || strncmp(identity->organization, "org_", 4) == 0);
    assert(strlen(identity->scopes) < IDENTITY_SCOPES_SIZE);
    assert(strpbrk(identity->scopes, "*\"\\\r\n") == NULL);
    buf_init(&encoded, bytes, sizeof(bytes));
    identity_encode(identity, &encoded);
    assert(!buf_failed(&encoded));
    assert(identity_decode(bytes, encoded.length, &again, NULL) == STATUS_OK);
    assert(strcmp(again.scopes, identity->scopes) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum credential_kind kinds[] = { CREDENTIAL_SESSION_TOKEN, CREDENTIAL_M2M_TOKEN,
                                                  CREDENTIAL_OAUTH_TOKEN };
    static struct verifier_finding finding;
    bool valid = false;
    struct jwt jwt;

    if (settings.policy.plans == NULL)
        set_up();
    if (jwt_parse((const char *)data, size, &jwt, NULL) != STATUS_OK) {
        fuzz_result(false);
        return 0;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        finding.valid = true;
        verifier_jwt_read(kinds[i], &jwt, &settings, NOW_US, &finding);
        assert(finding.valid == (finding.why.message[0] == '\0'));
        if (finding.valid)
            check_identity(kinds[i], &finding.identity);
        valid = valid || finding.valid;
    }
    jwt_clear(&jwt);
    fuzz_result(valid);
    return 0;
}

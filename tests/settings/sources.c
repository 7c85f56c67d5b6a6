/* SPDX-License-Identifier: MIT */
/*
 * Where values come from: secrets in files, the environment, the file itself.
 */
#include "tests/settings/fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crypto.h"

#include "common/banned.h"

static void
test_secret_values_are_never_told(void)
{
    check_refused_too("clerk { secret_key_file = \"sk_live_topsecret\" }",
                      "spendgate.conf:1: clerk.secret_key_file: the value is not the absolute path "
                      "of a file that holds the secret");
    check_refused_too("tracker { token \"t\" { role = post sha256 = \"sgt_topsecret\" } }",
                      "spendgate.conf:1: tracker.token.sha256: the value is not a SHA-256 of 64 "
                      "hexadecimal digits");
    check_refused_too("tracker { token \"t\" { role = post sha256 = \"" SHA_A "00\" } }",
                      "spendgate.conf:1: tracker.token.sha256: the value is not a SHA-256 of 64 "
                      "hexadecimal digits");
    check_refused_too("store { url = \"mysql://u:topsecret@h/d\" }",
                      "spendgate.conf:1: store.url: the value is not \"sqlite:/absolute/path\" or "
                      "\"postgresql://...\"");
    check_refused_too(
        "alerts { webhook_url = \"http://h/topsecret\" }",
        "spendgate.conf:1: alerts.webhook_url: the value is not an https URL (http to "
        "a loopback address) without user");
    check_refused("clerk { secret_key_file = \"/a\" sk_live_0123456789012345678901234 }",
                  "spendgate.conf:1: no such option (a long word, not shown)");
}

static void
test_store_urls_are_sqlite_or_postgresql(void)
{
    static const char *const good[] = { "sqlite:/a b", "postgresql://u@h1,h2/d?x=y",
                                        "postgres://h/d" };
    static const char *const bad[] = { "sqlite:a", "sqlite:",       "sqlite:/",          "",
                                       "/a",       "postgresql:/h", "postgresql://h/d e" };
    char storage[256];

    for (size_t i = 0; i < CHECK_COUNT(good); i++)
        check_accepted("store { url = \"%s\" }", good[i]);
    for (size_t i = 0; i < CHECK_COUNT(bad); i++)
        check_refused_too(with_value("store { url = \"%s\" }", bad[i], storage, sizeof(storage)),
                          "spendgate.conf:1: store.url: the value is not \"sqlite:/absolute/path\" "
                          "or \"postgresql://...\"");
}

/* A file in the test's folder by its absolute path, in `pattern`. */
static const char *
with_file(const char *pattern, const char *name, char *storage, size_t size)
{
    char path[512];

    CHECK_TRUE("folder", getcwd(path, sizeof(path) - 32) != NULL);
    (void)snprintf(path + strlen(path), 32, "/%s", name);
    return with_value(pattern, path, storage, size);
}

static void
check_secret_refused(const char *pattern, const char *key, const char *problem)
{
    char storage[1024];
    const char *text = with_file(pattern, "secret", storage, sizeof(storage));
    char want[1024];
    struct told told;
    struct error err;

    (void)read_bytes(text, strlen(text), STATUS_INVALID, &told, &err);
    (void)snprintf(want, sizeof(want), "spendgate.conf:1: %s: ", key);
    CHECK_INT("key", 0, strncmp(want, err.message, strlen(want)));
    CHECK_TRUE(problem, strstr(err.message, problem) != NULL);
    CHECK_TRUE("not told", strstr(buf_text(&told.text), "topsecret") == NULL);
}

static void
test_secret_files_are_private_and_one_line(void)
{
    static const char pattern[] = "clerk { secret_key_file = \"%s\" }";

    write_bytes("secret", "topsecret", 9, 0604);
    check_secret_refused(pattern, "clerk.secret_key_file", "/secret: ");
    write_bytes("secret", "topsecret\nmore", 14, 0600);
    check_secret_refused(pattern, "clerk.secret_key_file",
                         "the secret is not one line of visible ASCII characters");
    write_bytes("secret", "topsecret \n", 11, 0600);
    check_secret_refused(pattern, "clerk.secret_key_file",
                         "the secret is not one line of visible ASCII characters");
    CHECK_INT("removed", 0, unlink("secret"));
    check_secret_refused(pattern, "clerk.secret_key_file", "/secret: No such file or directory");
    check_secret_refused("alerts { webhook_secret_file = \"%s\" }", "alerts.webhook_secret_file",
                         "No such file");
    check_secret_refused("clerk { webhook_secret_file = \"%s\" }", "clerk.webhook_secret_file",
                         "No such file");
}

static void
test_jwt_key_is_a_public_key(void)
{
    static const char pattern[] = "clerk { jwt_key_file = \"%s\" }";
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    char storage[1024];
    struct settings *s;

    write_bytes("secret", pem, strlen(pem), 0600);
    s = load(with_file(pattern, "secret", storage, sizeof(storage)));
    CHECK_INT("key", strlen(pem) - 1, s->clerk.jwt_key.length);
    settings_close(s);
    write_bytes("secret", "-----BEGIN PRIVATE KEY-----\ntopsecret\n", 38, 0600);
    check_secret_refused(pattern, "clerk.jwt_key_file",
                         "the secret is not a public key in PEM (-----BEGIN PUBLIC KEY-----)");
}

static void
test_environment_wins_over_the_file(void)
{
    struct settings *s;

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "sqlite:/env.db", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "sk_env", 1));
    CHECK_INT("set", 0, setenv("CLERK_API_URL", "http://127.0.0.1:5000/", 1));
    CHECK_INT("set", 0, setenv("CLERK_JWT_KEY", "-----BEGIN PUBLIC KEY-----", 1));
    CHECK_INT("set", 0, setenv("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_env", 1));
    s = load("store { url = \"sqlite:/file.db\" }\n"
             "clerk { secret_key_file = \"/nonexistent\" api_url = \"https://file\" }");
    CHECK_STRING("store", "sqlite:/env.db", s->store_url);
    CHECK_STRING("secret", "sk_env", (const char *)s->clerk.secret_key.bytes);
    CHECK_STRING("api_url", "http://127.0.0.1:5000", s->clerk.api_url);
    CHECK_TRUE("jwt_key", secret_is_set(&s->clerk.jwt_key));
    CHECK_STRING("webhook", "whsec_env", (const char *)s->clerk.webhook_secret.bytes);
    settings_close(s);
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
    CHECK_INT("unset", 0, unsetenv("CLERK_API_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_JWT_KEY"));
    CHECK_INT("unset", 0, unsetenv("CLERK_WEBHOOK_SIGNING_SECRET"));
}

static void
test_empty_environment_counts_as_none(void)
{
    struct settings *s;

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "", 1));
    s = load("store { url = \"sqlite:/file.db\" }");
    CHECK_STRING("store", "sqlite:/file.db", s->store_url);
    CHECK_FALSE("secret", secret_is_set(&s->clerk.secret_key));
    settings_close(s);
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
}

static void
test_bad_environment_is_told_by_its_name(void)
{
    char big[SECRET_BYTES_MAX + 2];

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "topsecret", 1));
    CHECK_INT("set", 0, setenv("CLERK_API_URL", "x", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "a b", 1));
    check_refused_too("", "spendgate.conf: SPENDGATE_STORE_URL: the value is not "
                          "\"sqlite:/absolute/path\" or \"postgresql://...\"\n"
                          "spendgate.conf: CLERK_SECRET_KEY: the secret is not one line of visible "
                          "ASCII characters\n"
                          "spendgate.conf: CLERK_API_URL: \"x\" is not an https URL (http to a "
                          "loopback address) without query and user");
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_API_URL"));
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", big, 1));
    check_refused_too("", "spendgate.conf: CLERK_SECRET_KEY: a secret is longer than 4096 bytes");
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
}

static void
check_file_refused(const char *path, const char *problem)
{
    struct settings *settings = NULL;
    struct error err = { 0 };

    CHECK_STATUS(STATUS_INVALID, settings_open(path, NULL, &settings, &err), &err);
    CHECK_STRING(path, problem, err.message);
    CHECK_TRUE("nothing", settings == NULL);
}

static void
test_file_is_regular_and_written_by_its_owner_only(void)
{
    check_file_refused("missing",
                       "missing: No such file or directory: copy the sample there, or name "
                       "a file with --config");
    check_file_refused(".", ".: not a regular file");
    check_file_refused("./missing/x",
                       "./missing/x: No such file or directory: copy the sample there, "
                       "or name a file with --config");
    write_bytes("open", "", 0, 0646);
    check_file_refused("open", "open: writable by others: run chmod o-w on it");
    CHECK_INT("fifo", 0, mkfifo("fifo", 0600));
    check_file_refused("fifo", "fifo: not a regular file");
    check_file_refused(FILE_NAME "/x", FILE_NAME "/x: Not a directory");
}

static void
test_file_has_a_largest_size(void)
{
    char *text = malloc(SETTINGS_FILE_MAX + 1);

    CHECK_TRUE("memory", text != NULL);
    if (text == NULL)
        return;
    memset(text, '\n', SETTINGS_FILE_MAX + 1);
    write_bytes("big", text, SETTINGS_FILE_MAX + 1, 0640);
    check_file_refused("big", "big: larger than 1048576 bytes");
    memcpy(text + SETTINGS_FILE_MAX - 10, "compat = 5", 10);
    write_bytes("big", text, SETTINGS_FILE_MAX, 0640);
    check_file_refused("big", "big:1048567: compat: \"5\" is not \"\", \"agentkey\" or \"openai\"");
    free(text);
}

static void
test_file_is_known_by_its_digest(void)
{
    static const char one[] = "compat = agentkey", two[] = "compat = agentkey ";
    uint8_t want[SHA256_BYTES];
    struct settings *settings = NULL;
    struct error err = { 0 };

    write_bytes("one", one, sizeof(one) - 1, 0640);
    write_bytes("two", two, sizeof(two) - 1, 0640);
    crypto_sha256(one, sizeof(one) - 1, want);
    CHECK_STATUS(STATUS_OK, settings_open("one", NULL, &settings, &err), &err);
    CHECK_INT("digest", 0, memcmp(want, settings->digest, sizeof(want)));
    settings_close(settings);
    CHECK_STATUS(STATUS_OK, settings_open("two", NULL, &settings, &err), &err);
    CHECK_TRUE("another file", memcmp(want, settings->digest, sizeof(want)) != 0);
    settings_close(settings);
}

static void
test_file_is_named_by_the_caller_then_the_environment(void)
{
    struct settings *settings = NULL;
    struct error err = { 0 };
    char name[FILE_PATH_SIZE + 8];

    write_bytes("named", "compat = agentkey", 17, 0640);
    CHECK_INT("set", 0, setenv("SPENDGATE_CONFIG", "named", 1));
    CHECK_STATUS(STATUS_OK, settings_open(NULL, NULL, &settings, &err), &err);
    CHECK_STRING("file", "named", settings->file);
    CHECK_TRUE("read", settings->compat == COMPAT_AGENTKEY);
    settings_close(settings);
    check_file_refused("missing",
                       "missing: No such file or directory: copy the sample there, or name "
                       "a file with --config");
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_CONFIG"));
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    CHECK_STATUS(STATUS_INVALID, settings_open(name, NULL, &settings, &err), &err);
}

static void
test_every_failed_allocation_is_out_of_memory(void)
{
    static const char text[] = "default_plan = a plan a {} route \"/a\" {}";
    struct settings *settings = NULL;
    int failures = 0;

    write_bytes(FILE_NAME, text, strlen(text), 0640);
    for (;; failures++) {
        struct error err = { 0 };
        enum status status;

        allocations_left = failures;
        status = settings_open(FILE_NAME, NULL, &settings, &err);
        if (allocations_left >= 0)
            break;
        allocations_left = -1;
        CHECK_STATUS(STATUS_NO_MEMORY, status, &err);
        CHECK_STRING("error", "settings: out of memory", err.message);
        CHECK_TRUE("nothing", settings == NULL);
    }
    allocations_left = -1;
    CHECK_INT("reading, settings, text, value, plans, routes", 6, failures);
    CHECK_TRUE("the next one succeeds", settings != NULL);
    settings_close(settings);
}

static void
test_authorizer_needs_a_secret_key_unless_it_verifies_sessions_only(void)
{
    struct settings *s = load("");
    struct error err = { 0 };
    struct told told;
    const struct settings_problems problems = { tell, &told };

    buf_init(&told.text, told.storage, sizeof(told.storage));
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, &problems, &err), &err);
    CHECK_STRING("told",
                 "spendgate.conf: clerk.secret_key_file: no Clerk secret key: name a file with it "
                 "here, or set CLERK_SECRET_KEY",
                 buf_text(&told.text));
    CHECK_STRING("error", buf_text(&told.text), err.message);
    CHECK_STATUS(STATUS_OK, secret_set(&s->clerk.jwt_key, "pem", 3, &err), &err);
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, NULL, &err), &err);
    s->clerk.accept = CREDENTIAL_SESSION_TOKEN;
    CHECK_STATUS(STATUS_OK, settings_require_clerk(s, NULL, &err), &err);
    secret_clear(&s->clerk.jwt_key);
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, NULL, &err), &err);
    s->clerk.accept = CREDENTIAL_API_KEY;
    CHECK_STATUS(STATUS_OK, secret_set(&s->clerk.secret_key, "sk", 2, &err), &err);
    CHECK_STATUS(STATUS_OK, settings_require_clerk(s, NULL, &err), &err);
    settings_close(s);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_secret_values_are_never_told),
    CHECK_TEST(test_store_urls_are_sqlite_or_postgresql),
    CHECK_TEST(test_secret_files_are_private_and_one_line),
    CHECK_TEST(test_jwt_key_is_a_public_key),
    CHECK_TEST(test_environment_wins_over_the_file),
    CHECK_TEST(test_empty_environment_counts_as_none),
    CHECK_TEST(test_bad_environment_is_told_by_its_name),
    CHECK_TEST(test_file_is_regular_and_written_by_its_owner_only),
    CHECK_TEST(test_file_has_a_largest_size),
    CHECK_TEST(test_file_is_known_by_its_digest),
    CHECK_TEST(test_file_is_named_by_the_caller_then_the_environment),
    CHECK_TEST(test_every_failed_allocation_is_out_of_memory),
    CHECK_TEST(test_authorizer_needs_a_secret_key_unless_it_verifies_sessions_only),
};
const struct check_group settings_sources_tests = { tests, CHECK_COUNT(tests) };

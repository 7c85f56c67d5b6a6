/* SPDX-License-Identifier: MIT */
/*
 * The real verifier of API keys against a scripted Clerk, by several processes of one host at once:
 * who asks, who waits, who is sent away.
 */
#include "authorizer/decide.h"

#include "authorizer/answer.h"

#include "tests/check.h"
#include "tests/scratch.h"
#include "tests/scripted_server.h"

#include <signal.h>
#include <sys/wait.h>

#include "common/banned.h"

#define KEY                                                                                      \
    "{\"object\":\"api_key\",\"id\":\"ak_00112233445566778899aabbccddeeff\",\"subject\":\"user_" \
    "1\","                                                                                       \
    "\"claims\":{\"tier\":\"pro\",\"org_id\":\"org_1\"},\"revoked\":false,\"expired\":false,"    \
    "\"expiration\":null}"
#define EMPTY "Content-Length: 0\r\n\r\n"
#define KEY_ANSWER \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" KEY
#define NOT_FOUND "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n" EMPTY

static struct {
    struct scratch scratch;
    struct scripted_server server;
    struct settings *settings;
    struct decider *decider;
    struct clock clock;
    int64_t ahead_us; /* of the real boot clock */
    char storage[ANSWER_SIZE];
    struct buf out;
    struct error err;
    int64_t took_ms;
} f;

static int64_t
real_now_us(void *context)
{
    struct clock clock = clock_system();

    (void)context;
    return clock_now_us(&clock);
}

static int64_t
boot_ahead_us(void *context)
{
    struct clock clock = clock_system();

    (void)context;
    return clock_boot_us(&clock) + f.ahead_us;
}

static void
print_problem(void *context, bool warning, const char *text)
{
    (void)context;
    if (!warning)
        printf("%s\n", text);
}

static void
open_decider(void)
{
    struct decider_options options = {
        .settings = f.settings, .rows = verifiers, .workers = 4, .clock = f.clock
    };

    CHECK_STATUS(STATUS_OK, decider_open(&options, &f.decider, &f.err), &f.err);
}

/* For tests with many processes, which a busy machine keeps waiting. */
#define PATIENT "timeout = \"20s\" connect_timeout = \"10s\""

static void
set_up(const struct scripted_answer *script, size_t count, const char *clerk)
{
    struct settings_problems problems = { print_problem, NULL };
    char text[1024];
    char path[128];

    memset(&f, 0, sizeof(f));
    f.clock = (struct clock){ .now_us = real_now_us, .boot_us = boot_ahead_us };
    buf_init(&f.out, f.storage, sizeof(f.storage));
    scratch_open(&f.scratch);
    scripted_server_start(&f.server, script, count);
    setenv("CLERK_SECRET_KEY", "sk_test_1", 1);
    setenv("CLERK_API_URL", f.server.url, 1);
    snprintf(text, sizeof(text),
             "store { url = \"sqlite:%s/store.db\" }\ncache { path = \"%s/cache.db\" }\n"
             "clerk { %s  pass_claims = { \"tier\" }\n"
             "%s }\nplan \"free\" { }\ndefault_plan = \"free\"\n",
             f.scratch.folder, f.scratch.folder,
             strstr(clerk, "timeout") == NULL ? "timeout = \"600ms\"  connect_timeout = \"200ms\""
                                              : "",
             clerk);
    scratch_write(&f.scratch, "spendgate.conf", text);
    CHECK_STATUS(STATUS_OK,
                 settings_open(scratch_path(&f.scratch, "spendgate.conf", path), &problems,
                               &f.settings, &f.err),
                 &f.err);
    if (f.settings == NULL)
        abort();
    open_decider();
    scratch_catch_log(&f.scratch);
}

static void
tear_down(void)
{
    decider_close(f.decider);
    settings_close(f.settings);
    scripted_server_stop(&f.server);
    scratch_close(&f.scratch);
}

/* The status of the answer to a request with this key. */
static int
ask(const char *key)
{
    char authorization[128];
    struct question question = { .authorization = authorization, .target = "/" };
    int64_t started_us = clock_boot_us(&f.clock);

    snprintf(authorization, sizeof(authorization), "Bearer %s", key);
    (void)decide(f.decider, &question, clock_now_us(&f.clock), &f.out);
    decider_after(f.decider);
    f.took_ms = (clock_boot_us(&f.clock) - started_us) / 1000;
    return (f.storage[8] - '0') * 100 + (f.storage[9] - '0') * 10 + (f.storage[10] - '0');
}

/* Another process of the host asks; it ends with the status less 300, or with 1 for 200. */
static pid_t
ask_beside(const char *key)
{
    pid_t pid = fork();

    if (pid == 0) {
        int status;

        f.decider = NULL; /* the parent's */
        open_decider();
        status = ask(key);
        _exit(status == 200 ? 1 : status - 300);
    }
    return pid;
}

static int
status_of(pid_t pid)
{
    int ended = 0;

    CHECK_INT("wait", pid, waitpid(pid, &ended, 0));
    if (!WIFEXITED(ended))
        return -1;
    return WEXITSTATUS(ended) == 1 ? 200 : WEXITSTATUS(ended) + 300;
}

/* Until the scripted Clerk has been asked so often. */
static void
wait_for_requests(int count)
{
    for (int i = 0; i < 2000 && f.server.shared->requests < count; i++)
        usleep(1000);
    CHECK_INT("asked", count, f.server.shared->requests);
}

static void
test_key_is_verified_and_remembered(void)
{
    const struct scripted_answer script[] = { { KEY_ANSWER, 0, SCRIPTED_CLOSE, 0 } };

    set_up(script, 1, "");
    for (int i = 0; i < 20; i++)
        CHECK_INT("allowed", 200, ask("ak_one"));
    CHECK_INT("asked", 1, f.server.shared->requests);
    CHECK_TRUE("subject", strstr(f.storage, "\r\nVariable-SPENDGATE_SUBJECT: user_1\r\n") != NULL);
    CHECK_TRUE("organization", strstr(f.storage, "\r\nVariable-SPENDGATE_ORG: org_1\r\n") != NULL);
    CHECK_TRUE("claim", strstr(f.storage, "\r\nVariable-SPENDGATE_CLAIM_TIER: pro\r\n") != NULL);
    CHECK_INT("another", 200, status_of(ask_beside("ak_one")));
    CHECK_INT("asked", 1, f.server.shared->requests);
    tear_down();
}

/* By another process, as `spendgate cache purge` does it. */
static void
purge(void)
{
    const struct host_cache_options options = { .path = f.settings->cache_path, .group = "" };
    struct host_cache *cache = NULL;
    int64_t rows = 0;

    CHECK_STATUS(STATUS_OK, host_cache_open(&options, &cache, &f.err), &f.err);
    CHECK_STATUS(STATUS_OK, host_cache_purge(cache, clock_boot_us(&f.clock), &rows, &f.err),
                 &f.err);
    CHECK_INT("forgotten", 1, rows);
    host_cache_close(cache);
}

static void
test_purge_reaches_what_a_worker_knows_itself(void)
{
    const struct scripted_answer script[] = { { KEY_ANSWER, 0, SCRIPTED_CLOSE, 0 },
                                              { NOT_FOUND, 0, SCRIPTED_CLOSE, 0 } };

    set_up(script, 2, "");
    CHECK_INT("allowed", 200, ask("ak_one"));
    f.ahead_us += HOST_CACHE_PURGED_WITHIN_US;
    CHECK_INT("still", 200, ask("ak_one"));
    purge();
    f.ahead_us += HOST_CACHE_PURGED_WITHIN_US;
    CHECK_INT("asked again", 401, ask("ak_one"));
    CHECK_INT("asked", 2, f.server.shared->requests);
    tear_down();
}

static void
test_processes_at_once_ask_once(void)
{
    const struct scripted_answer script[] = { { KEY_ANSWER, 0, SCRIPTED_CLOSE, 200 } };
    pid_t beside[6];

    set_up(script, 1, PATIENT " max_waiting = 8");
    for (int i = 0; i < 6; i++)
        beside[i] = ask_beside("ak_one");
    for (int i = 0; i < 6; i++)
        CHECK_INT("allowed", 200, status_of(beside[i]));
    CHECK_INT("asked", 1, f.server.shared->requests);
    tear_down();
}

static void
test_processes_at_once_share_a_refusal(void)
{
    const struct scripted_answer script[] = { { NOT_FOUND, 0, SCRIPTED_KEEP, 200 } };
    pid_t beside[6];

    set_up(script, 1, PATIENT " max_waiting = 8");
    for (int i = 0; i < 6; i++)
        beside[i] = ask_beside("ak_one");
    for (int i = 0; i < 6; i++)
        CHECK_INT("refused", 401, status_of(beside[i]));
    CHECK_INT("asked", 1, f.server.shared->requests);
    tear_down();
}

static void
test_flood_of_unknown_credentials_does_not_slow_known_ones(void)
{
    const struct scripted_answer script[] = { { KEY_ANSWER, 0, SCRIPTED_CLOSE, 0 },
                                              { NULL, 0, SCRIPTED_HANG, 0 } };
    pid_t first, second;

    set_up(script, 2, "max_waiting = 3");
    CHECK_INT("known", 200, ask("ak_known"));
    first = ask_beside("ak_unknown_1");
    second = ask_beside("ak_unknown_2");
    wait_for_requests(3);
    CHECK_INT("from memory", 200, ask("ak_known"));
    CHECK_TRUE("at once", f.took_ms < 300);
    CHECK_INT("no slot", 503, ask("ak_unknown_3"));
    CHECK_TRUE("at once", f.took_ms < 300);
    CHECK_TRUE("come back", strstr(f.storage, "\r\nRetry-After: 1\r\n") != NULL);
    CHECK_INT(
        "says why", 1,
        scratch_log_count(&f.scratch, "clerk { max_waiting } processes wait for Clerk already"));
    CHECK_INT("asked", 3, f.server.shared->requests);
    CHECK_INT("first", 503, status_of(first));
    CHECK_INT("second", 503, status_of(second));
    tear_down();
}

static void
test_killed_process_does_not_keep_the_others_waiting(void)
{
    const struct scripted_answer script[] = { { NULL, 0, SCRIPTED_HANG, 0 },
                                              { KEY_ANSWER, 0, SCRIPTED_CLOSE, 0 } };
    pid_t leader, follower;

    set_up(script, 2, "max_waiting = 8");
    leader = ask_beside("ak_one");
    wait_for_requests(1);
    follower = ask_beside("ak_one");
    usleep(50000);
    CHECK_INT("waits", 1, f.server.shared->requests);
    CHECK_INT("kill", 0, kill(leader, SIGKILL));
    CHECK_INT("killed", -1, status_of(leader));
    CHECK_INT("allowed", 200, status_of(follower));
    tear_down();
}

static void
test_refusal_of_our_own_key_is_503_and_names_the_setting(void)
{
    const struct scripted_answer script[] = { { "HTTP/1.1 401 Unauthorized\r\n" EMPTY, 0,
                                                SCRIPTED_KEEP, 0 } };

    set_up(script, 1, "");
    CHECK_INT("503", 503, ask("ak_one"));
    CHECK_INT("log", 1,
              scratch_log_count(&f.scratch, "Clerk refuses our own secret key (HTTP 401): correct "
                                            "clerk { secret_key_file } or CLERK_SECRET_KEY"));
    tear_down();
}

static void
test_retry_after_of_clerk_holds_for_every_process(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 }
    };

    set_up(script, 1, "");
    CHECK_INT("503", 503, ask("ak_one"));
    CHECK_TRUE("told", strstr(f.storage, "\r\nRetry-After: 30\r\n") != NULL);
    CHECK_INT("another", 503, status_of(ask_beside("ak_two")));
    CHECK_INT("asked", 1, f.server.shared->requests);
    tear_down();
}

static void
test_breaker_stops_every_process(void)
{
    const struct scripted_answer script[] = { { "HTTP/1.1 500 Internal Server Error\r\n" EMPTY, 0,
                                                SCRIPTED_KEEP, 0 } };
    int asked;

    set_up(script, 1, "");
    for (int i = 0; i < 3; i++)
        CHECK_INT("503", 503, ask("ak_one"));
    asked = f.server.shared->requests;
    CHECK_INT("five, and no more", 5, asked);
    CHECK_INT("another", 503, status_of(ask_beside("ak_two")));
    CHECK_TRUE("at once", f.took_ms < 300);
    CHECK_INT("asked", asked, f.server.shared->requests);
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=clerk_breaker_open"));
    tear_down();
}

static void
test_nonsense_is_503_and_not_remembered(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 0,
          SCRIPTED_KEEP, 0 },
        { KEY_ANSWER, 0, SCRIPTED_CLOSE, 0 }
    };

    set_up(script, 2, "");
    CHECK_INT("503", 503, ask("ak_one"));
    CHECK_INT("log", 1,
              scratch_log_count(&f.scratch, "(not application/json): check clerk { api_url }"));
    CHECK_INT("then", 200, ask("ak_one"));
    tear_down();
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_key_is_verified_and_remembered),
        CHECK_TEST(test_purge_reaches_what_a_worker_knows_itself),
        CHECK_TEST(test_processes_at_once_ask_once),
        CHECK_TEST(test_processes_at_once_share_a_refusal),
        CHECK_TEST(test_flood_of_unknown_credentials_does_not_slow_known_ones),
        CHECK_TEST(test_killed_process_does_not_keep_the_others_waiting),
        CHECK_TEST(test_refusal_of_our_own_key_is_503_and_names_the_setting),
        CHECK_TEST(test_retry_after_of_clerk_holds_for_every_process),
        CHECK_TEST(test_breaker_stops_every_process),
        CHECK_TEST(test_nonsense_is_503_and_not_remembered),
    };

    return check_main("verification", tests, CHECK_COUNT(tests));
}

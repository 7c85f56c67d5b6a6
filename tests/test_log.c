/* SPDX-License-Identifier: MIT */
/* Log lines as they reach standard error. */
#include "common/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/secret.h"
#include "tests/check.h"

#include "common/banned.h"

static char captured[3 * LOG_LINE_SIZE];
static int pipe_fds[2], saved_stderr;

static void
capture_begin(void)
{
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        abort();
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    if (saved_stderr < 0 || dup2(pipe_fds[1], STDERR_FILENO) < 0)
        abort();
}

/* What was written since capture_begin; one read(2) sees one write(2) of this size whole. */
static const char *
capture_end(void)
{
    ssize_t got;

    if (dup2(saved_stderr, STDERR_FILENO) < 0)
        abort();
    close(saved_stderr);
    close(pipe_fds[1]);
    got = read(pipe_fds[0], captured, sizeof(captured) - 1);
    close(pipe_fds[0]);
    captured[got > 0 ? got : 0] = '\0';
    return captured;
}

static void
test_event_is_one_line_of_key_and_value(void)
{
    capture_begin();
    log_event(LOG_WARN, "deny", "subject", "alice", "want", "two words", NULL);
    CHECK_STRING("line", "level=warn event=deny subject=alice want=\"two words\"\n", capture_end());
}

static void
test_levels_have_their_names(void)
{
    capture_begin();
    log_event(LOG_ERROR, "a", NULL);
    log_event(LOG_INFO, "b", NULL);
    CHECK_STRING("lines", "level=error event=a\nlevel=info event=b\n", capture_end());
}

static void
test_null_value_is_skipped(void)
{
    capture_begin();
    log_event(LOG_INFO, "x", "a", "1", "none", NULL, "b", "2", NULL);
    CHECK_STRING("line", "level=info event=x a=1 b=2\n", capture_end());
}

static void
test_value_cannot_begin_a_line_of_its_own(void)
{
    capture_begin();
    log_event(LOG_INFO, "x", "path", "/a\nlevel=error event=forged", NULL);
    CHECK_STRING("line", "level=info event=x path=\"/a\\nlevel=error event=forged\"\n",
                 capture_end());
}

static void
test_line_that_is_too_long_is_cut_and_marked(void)
{
    char long_value[2 * LOG_LINE_SIZE];
    const char *line;
    size_t length;

    memset(long_value, 'x', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = '\0';
    capture_begin();
    log_event(LOG_INFO, "x", "v", long_value, "after", "lost", NULL);
    line = capture_end();
    length = strlen(line);
    CHECK_INT("length", LOG_LINE_SIZE - 2, length);
    CHECK_STRING("end", "xxx\xe2\x80\xa6\n", line + length - 7);
    CHECK_TRUE("no second line", strchr(line, '\n') == line + length - 1);
}

static void
test_line_is_cut_between_characters(void)
{
    /* three bytes each: wherever the cut falls, no character is halved */
    for (size_t shift = 0; shift < 3; shift++) {
        char value[LOG_LINE_SIZE + 8] = "";
        const char *line;

        memset(value, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof(value); i += 3)
            memcpy(value + i, "\xe2\x82\xac", 3);
        capture_begin();
        log_event(LOG_INFO, "x", "v", value, NULL);
        line = capture_end();
        CHECK_STRING("end", "\xe2\x82\xac\xe2\x80\xa6\n", line + strlen(line) - 7);
    }
}

static void
test_failure_names_status_message_and_request(void)
{
    struct error err;

    error_set(&err, STATUS_UNAVAILABLE, "store: no answer: check %s", "the file");
    capture_begin();
    log_failure("admit", &err, "req-1");
    CHECK_STRING("line",
                 "level=error event=admit status=unavailable "
                 "message=\"store: no answer: check the file\" request_id=req-1\n",
                 capture_end());
    capture_begin();
    log_failure("admit", &err, NULL);
    CHECK_STRING("line",
                 "level=error event=admit status=unavailable "
                 "message=\"store: no answer: check the file\"\n",
                 capture_end());
}

/* A token through every failure that a secret has; no message may hold a part of it. */
static void
test_no_failure_of_a_secret_shows_it(void)
{
    static const char token[] = "tok_KNOWN_0123456789";
    char path[] = "/tmp/spendgate-test-log-XXXXXX";
    static char large[SECRET_BYTES_MAX + 8];
    static struct secret secret;
    struct error err = { 0 };
    int fd = mkstemp(path);

    if (fd < 0 || write(fd, token, sizeof(token) - 1) != (ssize_t)sizeof(token) - 1)
        abort();
    for (size_t i = 0; i + sizeof(token) < sizeof(large); i += sizeof(token) - 1)
        memcpy(large + i, token, sizeof(token) - 1);
    capture_begin();
    CHECK_STATUS(STATUS_OVERFLOW, secret_set(&secret, large, sizeof(large), &err), &err);
    log_failure("a", &err, NULL);
    if (fchmod(fd, 0604) != 0)
        abort();
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    log_failure("b", &err, NULL);
    if (fchmod(fd, 0600) != 0 || pwrite(fd, large, sizeof(large), 0) != (ssize_t)sizeof(large))
        abort();
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    log_failure("c", &err, NULL);
    close(fd);
    unlink(path);
    CHECK_STATUS(STATUS_IO, secret_read_file(&secret, path, &err), &err);
    log_failure("d", &err, NULL);
    CHECK_TRUE("four lines", strstr(capture_end(), "event=d status=io") != NULL);
    CHECK_TRUE("no token", strstr(captured, "KNOWN") == NULL);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_event_is_one_line_of_key_and_value),
        CHECK_TEST(test_levels_have_their_names),
        CHECK_TEST(test_null_value_is_skipped),
        CHECK_TEST(test_value_cannot_begin_a_line_of_its_own),
        CHECK_TEST(test_line_that_is_too_long_is_cut_and_marked),
        CHECK_TEST(test_line_is_cut_between_characters),
        CHECK_TEST(test_failure_names_status_message_and_request),
        CHECK_TEST(test_no_failure_of_a_secret_shows_it),
    };

    return check_main("log", tests, CHECK_COUNT(tests));
}

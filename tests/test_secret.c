/* SPDX-License-Identifier: MIT */
/* Secrets: from a file, compared, wiped. */
#include "common/secret.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

#include "common/banned.h"

static char folder[64], path[128];
static struct secret secret;
static struct error err;

static void
folder_make(void)
{
    snprintf(folder, sizeof(folder), "%s", "/tmp/spendgate-test-secret-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(path, sizeof(path), "%s/secret", folder);
    secret_clear(&secret);
    err.message[0] = '\0';
}

static void
folder_remove(void)
{
    (void)unlink(path);
    (void)rmdir(path);
    if (rmdir(folder) != 0)
        abort();
}

static void
file_make(const void *bytes, size_t length, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length || fchmod(fd, mode) != 0)
        abort();
    close(fd);
}

static void
check_message(const char *after_path)
{
    char want[256];

    snprintf(want, sizeof(want), "%s: %s", path, after_path);
    CHECK_STRING("message", want, err.message);
}

static void
check_file(const char *content, const char *want)
{
    folder_make();
    file_make(content, strlen(content), 0600);
    CHECK_STATUS(STATUS_OK, secret_read_file(&secret, path, &err), &err);
    CHECK_STRING("secret", want, (const char *)secret.bytes);
    CHECK_INT("length", strlen(want), secret.length);
    CHECK_TRUE("set", secret_is_set(&secret));
    folder_remove();
}

static void
test_file_is_read_without_one_final_line_end(void)
{
    check_file("sk_test_x", "sk_test_x");
    check_file("sk_test_x\n", "sk_test_x");
    check_file("sk_test_x\r\n", "sk_test_x");
    check_file("sk_test_x\n\n", "sk_test_x\n");
    check_file(" spaces stay ", " spaces stay ");
}

static void
test_file_that_others_may_open_is_refused(void)
{
    static const mode_t modes[] = { 0604, 0602, 0601, 0644, 0777 };

    for (size_t i = 0; i < CHECK_COUNT(modes); i++) {
        folder_make();
        file_make("x", 1, modes[i]);
        CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
        check_message("a secrets file that others may open: run chmod o= on it");
        CHECK_FALSE("set", secret_is_set(&secret));
        folder_remove();
    }
}

static void
test_file_of_a_group_is_read(void)
{
    folder_make();
    file_make("x", 1, 0640);
    CHECK_STATUS(STATUS_OK, secret_read_file(&secret, path, &err), &err);
    folder_remove();
}

static void
test_missing_file_is_refused(void)
{
    folder_make();
    CHECK_STATUS(STATUS_IO, secret_read_file(&secret, path, &err), &err);
    check_message("No such file or directory");
    folder_remove();
}

static void
test_empty_file_is_refused(void)
{
    static const char *const contents[] = { "", "\n", "\r\n" };

    for (size_t i = 0; i < CHECK_COUNT(contents); i++) {
        folder_make();
        file_make(contents[i], strlen(contents[i]), 0600);
        CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
        check_message("empty: put the secret into it");
        folder_remove();
    }
}

static void
test_file_is_read_up_to_the_maximum_and_no_further(void)
{
    static char content[SECRET_BYTES_MAX + 3];

    memset(content, 'x', sizeof(content));
    memcpy(content + SECRET_BYTES_MAX, "\r\n", 2);
    folder_make();
    file_make(content, SECRET_BYTES_MAX + 2, 0600);
    CHECK_STATUS(STATUS_OK, secret_read_file(&secret, path, &err), &err);
    CHECK_INT("length", SECRET_BYTES_MAX, secret.length);
    CHECK_INT("terminated", '\0', secret.bytes[SECRET_BYTES_MAX]);
    content[SECRET_BYTES_MAX] = 'x';
    secret_clear(&secret);
    file_make(content, SECRET_BYTES_MAX + 1, 0600);
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    check_message("longer than 4096 bytes");
    memset(content, 'x', sizeof(content));
    file_make(content, SECRET_BYTES_MAX + 3, 0600);
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    check_message("longer than 4096 bytes");
    CHECK_FALSE("set", secret_is_set(&secret));
    folder_remove();
}

static void
test_what_is_no_regular_file_is_refused_without_waiting(void)
{
    folder_make();
    if (mkfifo(path, 0600) != 0)
        abort();
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    check_message("not a regular file");
    unlink(path);
    if (mkdir(path, 0700) != 0)
        abort();
    CHECK_STATUS(STATUS_INVALID, secret_read_file(&secret, path, &err), &err);
    check_message("not a regular file");
    folder_remove();
}

static void
test_set_replaces_and_refuses_more_than_the_maximum(void)
{
    static char bytes[SECRET_BYTES_MAX + 1];

    CHECK_STATUS(STATUS_OK, secret_set(&secret, "longer", 6, &err), &err);
    CHECK_STATUS(STATUS_OK, secret_set(&secret, "x", 1, &err), &err);
    CHECK_STRING("nothing is left of the longer one", "x", (const char *)secret.bytes);
    CHECK_INT("wiped", 0, secret.bytes[2]);
    CHECK_STATUS(STATUS_OVERFLOW, secret_set(&secret, bytes, sizeof(bytes), &err), &err);
    CHECK_STRING("message", "a secret is longer than 4096 bytes", err.message);
    CHECK_STRING("kept", "x", (const char *)secret.bytes);
    CHECK_STATUS(STATUS_OK, secret_set(&secret, NULL, 0, &err), &err);
    CHECK_FALSE("none", secret_is_set(&secret));
}

static void
test_clear_wipes_every_byte(void)
{
    static const struct secret none;

    CHECK_STATUS(STATUS_OK, secret_set(&secret, "sk_test_x", 9, &err), &err);
    secret_clear(&secret);
    CHECK_TRUE("all zero", memcmp(&secret, &none, sizeof(secret)) == 0);
}

static void
test_equal_compares_length_and_bytes(void)
{
    static struct secret other;

    CHECK_STATUS(STATUS_OK, secret_set(&secret, "abc", 3, &err), &err);
    CHECK_STATUS(STATUS_OK, secret_set(&other, "abc", 3, &err), &err);
    CHECK_TRUE("same", secret_equal(&secret, &other));
    CHECK_STATUS(STATUS_OK, secret_set(&other, "abd", 3, &err), &err);
    CHECK_FALSE("last byte", secret_equal(&secret, &other));
    CHECK_STATUS(STATUS_OK, secret_set(&other, "ab", 2, &err), &err);
    CHECK_FALSE("prefix", secret_equal(&secret, &other));
    CHECK_STATUS(STATUS_OK, secret_set(&other, "abc\0", 4, &err), &err);
    CHECK_FALSE("a NUL more", secret_equal(&secret, &other));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_file_is_read_without_one_final_line_end),
        CHECK_TEST(test_file_that_others_may_open_is_refused),
        CHECK_TEST(test_file_of_a_group_is_read),
        CHECK_TEST(test_missing_file_is_refused),
        CHECK_TEST(test_empty_file_is_refused),
        CHECK_TEST(test_file_is_read_up_to_the_maximum_and_no_further),
        CHECK_TEST(test_what_is_no_regular_file_is_refused_without_waiting),
        CHECK_TEST(test_set_replaces_and_refuses_more_than_the_maximum),
        CHECK_TEST(test_clear_wipes_every_byte),
        CHECK_TEST(test_equal_compares_length_and_bytes),
    };

    return check_main("secret", tests, CHECK_COUNT(tests));
}

/* SPDX-License-Identifier: MIT */
/* Secrets that wipe themselves and have no formatter; see secret.h. */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crypto.h"

#include "common/banned.h"

void
secret_clear(struct secret *secret)
{
    crypto_wipe(secret, sizeof(*secret));
}

bool
secret_is_set(const struct secret *secret)
{
    return secret->length > 0;
}

enum status
secret_set(struct secret *secret, const void *bytes, size_t length, struct error *err)
{
    if (length > SECRET_BYTES_MAX)
        return error_set(err, STATUS_OVERFLOW, "a secret is longer than %d bytes",
                         SECRET_BYTES_MAX);
    secret_clear(secret);
    if (length > 0)
        memcpy(secret->bytes, bytes, length);
    secret->length = length;
    return STATUS_OK;
}

/* Refuse what is no private, regular file; the mode is that of the descriptor, not of the name. */
static enum status
check_file(int fd, const char *path, struct error *err)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return error_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, STATUS_INVALID, "%s: not a regular file", path);
    if ((info.st_mode & 07) != 0)
        return error_set(err, STATUS_INVALID,
                         "%s: a secrets file that others may open: run chmod o= on it", path);
    return STATUS_OK;
}

/* Read to the end, or to one byte more than a secret may have. */
static enum status
read_all(int fd, const char *path, unsigned char *bytes, size_t size, size_t *length,
         struct error *err)
{
    *length = 0;
    while (*length < size) {
        ssize_t got = read(fd, bytes + *length, size - *length);

        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
        *length += (size_t)got;
    }
    return STATUS_OK;
}

static size_t
without_line_end(const unsigned char *bytes, size_t length)
{
    if (length > 0 && bytes[length - 1] == '\n')
        length--;
    if (length > 0 && bytes[length - 1] == '\r')
        length--;
    return length;
}

enum status
secret_read_file(struct secret *secret, const char *path, struct error *err)
{
    unsigned char bytes[SECRET_BYTES_MAX + 3]; /* a final CR LF, and one byte too many */
    enum status status;
    size_t length = 0;
    int fd;

    /* Non-blocking, so that a FIFO put there does not hang the start. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
    status = check_file(fd, path, err);
    if (status == STATUS_OK)
        status = read_all(fd, path, bytes, sizeof(bytes), &length, err);
    (void)close(fd);
    if (status != STATUS_OK)
        goto out;
    length = without_line_end(bytes, length);
    if (length == 0)
        status = error_set(err, STATUS_INVALID, "%s: empty: put the secret into it", path);
    else if (length > SECRET_BYTES_MAX)
        status = error_set(err, STATUS_INVALID, "%s: longer than %d bytes", path, SECRET_BYTES_MAX);
    else
        status = secret_set(secret, bytes, length, err);
out:
    crypto_wipe(bytes, sizeof(bytes));
    return status;
}

bool
secret_equal(const struct secret *a, const struct secret *b)
{
    return a->length == b->length && crypto_equal(a->bytes, b->bytes, a->length);
}

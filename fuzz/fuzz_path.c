/* SPDX-License-Identifier: MIT */
/* Path normalisation: whatever is taken is normal, and normalising it again changes nothing. */
#include <assert.h>
#include <string.h>

#include "common/policy.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define TARGET_SIZE 8192

static void
check_segment(const char *segment, size_t length, bool last)
{
    assert(length > 0 || last);
    assert(!(length == 1 && segment[0] == '.'));
    assert(!(length == 2 && segment[0] == '.' && segment[1] == '.'));
}

static void
check_normal(const char *path)
{
    const char *segment = path + 1;

    assert(path[0] == '/');
    for (const char *c = path; *c != '\0'; c++)
        assert((unsigned char)*c >= 0x20 && *c != 0x7f && *c != '\\');
    for (;;) {
        size_t length = strcspn(segment, "/");
        bool last = segment[length] == '\0';

        check_segment(segment, length, last);
        if (last)
            break;
        segment += length + 1;
    }
}

/* A path as a target that means it: what is not itself in a target is escaped. */
static void
add_escaped(struct buf *out, const char *path)
{
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '%' || *c == '?' || *c == '#')
            buf_add_format(out, "%%%02X", (unsigned)(unsigned char)*c);
        else
            buf_add_char(out, *c);
    }
}

static void
check_again(const char *path)
{
    static char target_storage[3 * PATH_SIZE];
    char path_storage[PATH_SIZE];
    struct buf target;
    struct buf again;
    struct error err;

    buf_init(&target, target_storage, sizeof(target_storage));
    buf_init(&again, path_storage, sizeof(path_storage));
    add_escaped(&target, path);
    assert(policy_path_normalize(buf_text(&target), &again, &err) == STATUS_OK);
    assert(strcmp(path, buf_text(&again)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char target[TARGET_SIZE];
    char storage[PATH_SIZE];
    struct buf path;
    struct error err = { 0 };
    enum status status;

    if (size >= sizeof(target) || memchr(data, '\0', size) != NULL)
        return 0;
    memcpy(target, data, size);
    target[size] = '\0';
    buf_init(&path, storage, sizeof(storage));
    status = policy_path_normalize(target, &path, &err);
    fuzz_result(status == STATUS_OK);
    if (status == STATUS_OK) {
        check_normal(buf_text(&path));
        check_again(buf_text(&path));
    } else {
        assert(status == STATUS_INVALID && err.message[0] != '\0' && path.length == 0);
    }
    return 0;
}

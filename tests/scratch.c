/* SPDX-License-Identifier: MIT */
#include "tests/scratch.h"

#include <ftw.h>

#include "common/banned.h"

static int
remove_one(const char *path, const struct stat *file, int type, struct FTW *where)
{
    (void)file;
    (void)type;
    (void)where;
    return remove(path);
}

void
scratch_close(struct scratch *scratch)
{
    scratch_release_log(scratch);
    nftw(scratch->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

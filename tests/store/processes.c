/* SPDX-License-Identifier: MIT */
#include "tests/store/processes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/banned.h"

struct shared *
share(void)
{
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        abort();
    return memory;
}

void
child(struct fixture *f, struct shared *shared, int go, int index, child_work work)
{
    char byte;

    if (store_open(&f->options, &f->store, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        shared->failed++;
        _exit(1);
    }
    while (read(go, &byte, 1) < 0 && errno == EINTR)
        continue;
    work(f, shared, index);
    store_close(f->store);
    _exit(0);
}

void
race(struct fixture *f, struct shared *shared, int count, child_work work)
{
    int gate[2], status;
    pid_t pids[64];

    store_close(f->store);
    f->store = NULL;
    if (pipe(gate) != 0)
        abort();
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(gate[1]);
            child(f, shared, gate[0], i, work);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < count; i++) {
        CHECK_INT("waited", pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT("exit", 0, status);
    }
    open_store(f);
}

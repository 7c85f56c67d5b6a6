/* SPDX-License-Identifier: MIT */
/* Slots and flights: who may wait, and that a killed process leaves nothing behind. */
#include "authorizer/flight.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include <signal.h>
#include <sys/wait.h>

#include "common/banned.h"

struct fixture {
    struct scratch scratch;
    char path[128];
    struct clock clock;
    struct error err;
};

static void
set_up(struct fixture *f)
{
    scratch_open(&f->scratch);
    scratch_catch_log(&f->scratch);
    scratch_path(&f->scratch, "waiting", f->path);
    f->clock = clock_system();
}

static struct flight *
open_one(struct fixture *f, int slots)
{
    struct flight_options options = { f->path, "", slots, f->clock };
    struct flight *flight = NULL;

    CHECK_STATUS(STATUS_OK, flight_open(&options, &flight, &f->err), &f->err);
    return flight;
}

static const uint8_t *
digest_of(uint8_t number)
{
    static uint8_t digest[SHA256_BYTES];

    memset(digest, 0xff, sizeof(digest));
    digest[0] = (uint8_t)(number << 3);
    return digest;
}

static int64_t
in_ms(struct fixture *f, int64_t ms)
{
    return clock_boot_us(&f->clock) + ms * 1000;
}

static void
test_slots_are_as_many_as_were_asked_for(void)
{
    struct flight *flights[4];
    struct fixture f;

    set_up(&f);
    for (int i = 0; i < 4; i++)
        flights[i] = open_one(&f, 3);
    for (int i = 0; i < 3; i++)
        CHECK_TRUE("known", flight_take_slot(flights[i], true));
    CHECK_FALSE("no more", flight_take_slot(flights[3], true));
    flight_give_slot(flights[1]);
    CHECK_TRUE("given back", flight_take_slot(flights[3], true));
    for (int i = 0; i < 4; i++)
        flight_close(flights[i]);
    scratch_close(&f.scratch);
}

static void
test_one_slot_is_kept_for_known_credentials(void)
{
    struct flight *flights[4];
    struct fixture f;

    set_up(&f);
    for (int i = 0; i < 4; i++)
        flights[i] = open_one(&f, 3);
    CHECK_TRUE("first", flight_take_slot(flights[0], false));
    CHECK_TRUE("second", flight_take_slot(flights[1], false));
    CHECK_FALSE("third", flight_take_slot(flights[2], false));
    CHECK_TRUE("known", flight_take_slot(flights[2], true));
    flight_give_slot(flights[0]);
    CHECK_TRUE("known", flight_take_slot(flights[3], true));
    for (int i = 0; i < 4; i++)
        flight_close(flights[i]);
    scratch_close(&f.scratch);
}

static void
test_single_slot_is_for_everybody(void)
{
    struct fixture f;
    struct flight *flight;

    set_up(&f);
    flight = open_one(&f, 1);
    CHECK_TRUE("unknown", flight_take_slot(flight, false));
    flight_close(flight);
    flight_close(NULL);
    scratch_close(&f.scratch);
}

static void
test_one_flight_per_credential(void)
{
    struct flight *first, *second;
    struct fixture f;

    set_up(&f);
    first = open_one(&f, 2);
    second = open_one(&f, 2);
    CHECK_TRUE("slot", flight_take_slot(first, true) && flight_take_slot(second, true));
    CHECK_TRUE("first", flight_join(first, digest_of(1), in_ms(&f, 1000)));
    CHECK_FALSE("same", flight_join(second, digest_of(1), in_ms(&f, 20)));
    CHECK_TRUE("other", flight_join(second, digest_of(2), in_ms(&f, 20)));
    flight_leave(second);
    flight_leave(first);
    flight_leave(first);
    CHECK_TRUE("landed", flight_join(second, digest_of(1), in_ms(&f, 0)));
    flight_close(first);
    flight_close(second);
    scratch_close(&f.scratch);
}

static void
test_killed_process_frees_what_it_held(void)
{
    struct flight *flight;
    struct fixture f;
    int ends[2];
    char byte;
    pid_t pid;

    set_up(&f);
    CHECK_INT("pipe", 0, pipe(ends));
    pid = fork();
    if (pid == 0) {
        flight = open_one(&f, 1);
        if (!flight_take_slot(flight, true) ||
            !flight_join(flight, digest_of(1), in_ms(&f, 1000)) || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    CHECK_INT("holds", 1, read(ends[0], &byte, 1));
    flight = open_one(&f, 1);
    CHECK_FALSE("taken", flight_take_slot(flight, true));
    kill(pid, SIGKILL);
    CHECK_INT("wait", pid, waitpid(pid, NULL, 0));
    CHECK_TRUE("free", flight_take_slot(flight, true));
    CHECK_TRUE("alone", flight_join(flight, digest_of(1), in_ms(&f, 0)));
    flight_close(flight);
    close(ends[0]);
    close(ends[1]);
    scratch_close(&f.scratch);
}

static void
test_unusable_file_limits_nobody_and_says_so_once(void)
{
    struct fixture f;
    struct flight *flight;

    set_up(&f);
    scratch_path(&f.scratch, "absent/waiting", f.path);
    flight = open_one(&f, 1);
    for (int i = 0; i < 10; i++) {
        CHECK_TRUE("slot", flight_take_slot(flight, false));
        CHECK_TRUE("flight", flight_join(flight, digest_of(1), in_ms(&f, 0)));
        flight_leave(flight);
        flight_give_slot(flight);
    }
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=locks_bypassed"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    flight_close(flight);
    scratch_close(&f.scratch);
}

static void
test_removed_file_is_made_anew(void)
{
    struct flight *first, *second;
    struct fixture f;

    set_up(&f);
    first = open_one(&f, 1);
    second = open_one(&f, 1);
    CHECK_TRUE("slot", flight_take_slot(first, true));
    flight_give_slot(first);
    scratch_remove(&f.scratch, "waiting");
    CHECK_TRUE("new file", flight_take_slot(second, true));
    CHECK_FALSE("and the first sees it", flight_take_slot(first, true));
    flight_close(first);
    flight_close(second);
    scratch_close(&f.scratch);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_slots_are_as_many_as_were_asked_for),
        CHECK_TEST(test_one_slot_is_kept_for_known_credentials),
        CHECK_TEST(test_single_slot_is_for_everybody),
        CHECK_TEST(test_one_flight_per_credential),
        CHECK_TEST(test_killed_process_frees_what_it_held),
        CHECK_TEST(test_unusable_file_limits_nobody_and_says_so_once),
        CHECK_TEST(test_removed_file_is_made_anew),
    };

    return check_main("flight", tests, CHECK_COUNT(tests));
}

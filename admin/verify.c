/* SPDX-License-Identifier: MIT */
/* spendgate verify: recompute every balance from its journal and tell each difference. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/output.h"

#include "common/banned.h"

struct findings {
    bool as_json, any, failed;
    bool progress; /* a line without an end stands on the terminal */
};

/* Standard error, so that the answer on standard output stays clean. */
static void
progress_begin(struct findings *findings)
{
    findings->progress = isatty(STDERR_FILENO) == 1;
    if (findings->progress)
        (void)fputs("Recomputing every balance from its journal ...", stderr);
}

static void
progress_end(struct findings *findings)
{
    if (findings->progress)
        (void)fputs("\r\033[K", stderr);
    findings->progress = false;
}

static void
add_finding(void *context, const char *invariant, const char *text)
{
    struct findings *findings = context;
    char storage[2048];
    struct buf json;

    progress_end(findings);
    if (!findings->as_json) {
        printf("%s  ", invariant);
        print_text(stdout, text);
        (void)putchar('\n');
        return;
    }
    buf_init(&json, storage, sizeof(storage));
    buf_add(&json, "{\"invariant\":");
    buf_add_json_string(&json, invariant);
    buf_add(&json, ",\"text\":");
    buf_add_json_string(&json, text);
    buf_add_char(&json, '}');
    findings->failed |= !print_json_item(&json, &findings->any);
}

static void
print_summary(const struct verify_summary *s, bool as_json)
{
    if (as_json) {
        printf("\n],\"accounts\":%" PRId64 ",\"periods\":%" PRId64 ",\"holds\":%" PRId64
               ",\"charges\":%" PRId64 ",\"priced\":%" PRId64 ",\"credits\":%" PRId64
               ",\"differences\":%" PRId64 "}\n",
               s->accounts, s->periods, s->holds, s->charges, s->priced, s->credits,
               s->differences);
        return;
    }
    printf("Checked: accounts %" PRId64 ", periods %" PRId64 ", holds %" PRId64 ", charges %" PRId64
           " (%" PRId64 " of them priced from a usage), credits %" PRId64 ". Differences: %" PRId64
           ".\n",
           s->accounts, s->periods, s->holds, s->charges, s->priced, s->credits, s->differences);
}

int
run_verify(struct admin *admin)
{
    struct findings findings = { .as_json = command_has(admin, OPTION_JSON) };
    struct verify_summary summary = { 0 };
    struct error err = { 0 };
    enum status status;

    if (findings.as_json)
        (void)puts("{\"findings\":[");
    progress_begin(&findings);
    status = store_verify(admin->store, admin->now_us, add_finding, &findings, &summary, &err);
    progress_end(&findings);
    if (status == STATUS_OK || findings.as_json)
        print_summary(&summary, findings.as_json);
    if (status != STATUS_OK)
        return command_error(&err);
    return summary.differences == 0 && !findings.failed ? DONE : FAILED;
}

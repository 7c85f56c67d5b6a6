/* SPDX-License-Identifier: MIT */
/*
 * Listings: charges, reports, holds, names.
 */

#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

enum status
store_account_names(struct store *s, const char *after, size_t limit,
                    bool (*visit)(void *context, const char *name), void *context,
                    struct error *err)
{
    return s->ops->account_names(s->backend, after, limit, visit, context, err);
}

enum status
store_charges(struct store *s, const struct charge_filter *filter,
              bool (*visit)(void *context, const struct charge *charge), void *context,
              struct error *err)
{
    return s->ops->charges(s->backend, filter, visit, context, err);
}

enum status
store_report(struct store *s, enum report_by by, int64_t from_us, int64_t to_us,
             bool (*visit)(void *context, const struct report_row *row), void *context,
             struct error *err)
{
    return s->ops->report(s->backend, by, from_us, to_us, visit, context, err);
}

enum status
store_holds(struct store *s, const char *account, enum hold_state state, size_t limit,
            bool (*visit)(void *context, const struct hold *hold, const char *account),
            void *context, struct error *err)
{
    return s->ops->holds(s->backend, account, state, limit, visit, context, err);
}

enum status
store_prune(struct store *s, int64_t older_than_us, int64_t now_us, int64_t *removed,
            struct error *err)
{
    enum status status = store_expire_all(s, 0, now_us, err); /* of accounts that nobody asks for */

    *removed = 0;
    if (status != STATUS_OK)
        return status;
    return s->ops->prune(s->backend, now_us - s->idempotency_ttl_us, older_than_us, now_us, removed,
                         err);
}

enum status
store_verify(struct store *s, int64_t now_us,
             void (*report)(void *context, const char *invariant, const char *text), void *context,
             struct verify_summary *out, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_INSPECT, err);

    (void)now_us;
    memset(out, 0, sizeof(*out));
    if (status != STATUS_OK)
        return status;
    status = store_verify_rows(s->ops, s->backend, report, context, out, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : store_give_up(s, status);
}

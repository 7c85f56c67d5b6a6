/* SPDX-License-Identifier: MIT */
/*
 * Price files: our own CSV, and the community price file in LiteLLM's JSON format.
 *
 * CSV: a header line, then one line per model (RFC 4180 quoting). Columns: `provider`, `model`, and
 * any rates and factors by their names in pricing.h ("input", "output.above_200k.priority"), in USD
 * per 1,000,000 units; an empty field is a rate that is not known, and a line without any withdraws
 * the model. `from` (RFC 3339, or a date) may give the time from which a line's prices count.
 * Source: contract, section 6; pricing.h.
 */
#ifndef SPENDGATE_PRICE_IMPORT_H
#define SPENDGATE_PRICE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "common/pricing.h"

#define PRICE_FILE_BYTES_MAX (16 * 1024 * 1024)

struct price_entry {
    char provider[PROVIDER_NAME_SIZE];
    char model[MODEL_NAME_SIZE];
    int64_t from_us; /* 0: the caller's choice */
    struct price price;
};

struct price_sink {
    /* One price. Anything but STATUS_OK ends the import with that status. */
    enum status (*price)(void *context, const struct price_entry *entry, struct error *err);
    /* A model that was left out (`whole`), or one figure of it that is not used; LiteLLM only: our
     * own file has nothing that would not be understood. */
    void (*left_out)(void *context, const char *model, bool whole, const char *why);
    void *context;
};

/*
 * Read a price file; which of the two formats it is shows in its first byte that is no white space
 * ("{": JSON). Errors: STATUS_INVALID with the line (CSV) or the model (JSON) and nothing imported
 * from it on, else what the sink returns.
 */
enum status price_import(const char *text, size_t length, const struct price_sink *sink,
                         struct error *err) MUST_CHECK;

/* Dollars per unit as JSON writes them ("3e-06", "0.00025") to nano-dollars per 1,000,000 units.
 * False when it is no such number, negative, out of range, or finer than 10^-15 dollars. */
bool price_per_unit_parse(const char *text, int64_t *nanos_per_million) MUST_CHECK;

#endif

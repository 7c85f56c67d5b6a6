/* SPDX-License-Identifier: MIT */
/* spendgate price: what tokens cost, imported from a file and listed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/price_import.h"

#include "common/banned.h"

#define WHY_SIZE 512
#define SHOWN_MODELS 3 /* of those that share a reason */
#define ITEM_SIZE (PRICE_RATES_SIZE + 4096)

/* ---- reading the file ----------------------------------------------------------------------- */

struct left_out {
    size_t number; /* in the file's order */
    bool whole;
    char model[MODEL_NAME_SIZE];
    char why[WHY_SIZE];
};

struct import {
    int64_t from_us; /* for what says nothing itself */
    const char *source;
    struct price_version *prices;
    size_t count, capacity;
    struct left_out *left_out;
    size_t left_out_count, left_out_capacity;
    bool no_memory;
};

static bool
grow(void *items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity == 0 ? 256 : *capacity * 2;
    void *grown, *old;

    if (count < *capacity)
        return true;
    memcpy(&old, items, sizeof(old));
    grown = reallocarray(old, wanted, size);
    if (grown == NULL)
        return false;
    memcpy(items, &grown, sizeof(grown));
    *capacity = wanted;
    return true;
}

static enum status
take_price(void *context, const struct price_entry *entry, struct error *err)
{
    struct import *import = context;
    struct price_version *version;

    if (!grow(&import->prices, import->count, &import->capacity, sizeof(*import->prices)))
        return error_set(err, STATUS_NO_MEMORY, "price file: out of memory");
    version = &import->prices[import->count++];
    memset(version, 0, sizeof(*version));
    memcpy(version->provider, entry->provider, sizeof(version->provider));
    memcpy(version->model, entry->model, sizeof(version->model));
    version->from_us = entry->from_us != 0 ? entry->from_us : import->from_us;
    (void)!text_copy(version->source, sizeof(version->source), import->source);
    version->price = entry->price;
    return STATUS_OK;
}

static void
take_left_out(void *context, const char *model, bool whole, const char *why)
{
    struct import *import = context;
    struct left_out *out;

    if (!grow(&import->left_out, import->left_out_count, &import->left_out_capacity,
              sizeof(*import->left_out))) {
        import->no_memory = true;
        return;
    }
    out = &import->left_out[import->left_out_count];
    out->number = import->left_out_count++;
    out->whole = whole;
    (void)snprintf(out->model, sizeof(out->model), "%s", model);
    (void)snprintf(out->why, sizeof(out->why), "%s", why);
}

/* The whole file, to be freed; one that is longer than allowed is read one byte too far. */
static char *
read_all(const char *path, size_t *length)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *text = malloc(PRICE_FILE_BYTES_MAX + 1);

    if (file == NULL || text == NULL) {
        (void)command_fail("%s: %s", path, file == NULL ? strerror(errno) : "out of memory");
    } else {
        *length = fread(text, 1, PRICE_FILE_BYTES_MAX + 1, file);
        if (ferror(file) == 0) {
            if (file != stdin)
                (void)fclose(file);
            return text;
        }
        (void)command_fail("%s: %s", path, strerror(errno));
    }
    if (file != NULL && file != stdin)
        (void)fclose(file);
    free(text);
    return NULL;
}

static bool
read_file(const char *path, struct import *import)
{
    const struct price_sink sink = { take_price, take_left_out, import };
    const char *slash = strrchr(path, '/');
    struct error err = { 0 };
    size_t length = 0;
    enum status status;
    char *text;

    import->source = slash != NULL ? slash + 1 : path;
    text = read_all(path, &length);
    if (text == NULL)
        return false;
    status = price_import(text, length, &sink, &err);
    free(text);
    if (status == STATUS_OK && import->no_memory)
        status = error_set(&err, STATUS_NO_MEMORY, "price file: out of memory");
    if (status != STATUS_OK)
        (void)command_error(&err);
    return status == STATUS_OK;
}

/* ---- telling what became of it -------------------------------------------------------------- */

static void
print_name(FILE *out, const struct price_version *version)
{
    print_text(out, version->model);
    if (version->provider[0] != '\0') {
        (void)fputs(" (", out);
        print_text(out, version->provider);
        (void)fputs(")", out);
    }
}

/* Same reasons together, each in the file's order. */
static int
compare_left_out(const void *a, const void *b)
{
    const struct left_out *x = a, *y = b;
    int by_why = strcmp(x->why, y->why);

    if (x->whole != y->whole)
        return x->whole ? -1 : 1;
    if (by_why != 0)
        return by_why;
    return x->number < y->number ? -1 : 1;
}

static void
print_left_out(struct import *import)
{
    struct left_out *all = import->left_out;

    if (import->left_out_count == 0)
        return;
    qsort(all, import->left_out_count, sizeof(*all), compare_left_out);
    for (size_t i = 0, next; i < import->left_out_count; i = next) {
        next = i;
        while (next < import->left_out_count && all[next].whole == all[i].whole &&
               strcmp(all[next].why, all[i].why) == 0)
            next++;
        (void)fputs(all[i].whole ? "left out  " : "not used  ", stdout);
        print_text(stdout, all[i].why);
        for (size_t shown = i; shown < next && shown < i + SHOWN_MODELS; shown++) {
            (void)fputs(shown == i ? "  (" : ", ", stdout);
            print_text(stdout, all[shown].model);
        }
        if (next - i > SHOWN_MODELS)
            printf(" and %zu more", next - i - SHOWN_MODELS);
        (void)fputs(")\n", stdout);
    }
}

static size_t
count_changes(const struct import *import, const enum price_change *changes,
              enum price_change change)
{
    size_t count = 0;

    for (size_t i = 0; i < import->count; i++)
        count += changes[i] == change;
    return count;
}

static void
print_import(struct import *import, const enum price_change *changes, bool dry_run)
{
    for (size_t i = 0; i < import->count; i++) {
        char from[HUMAN_SIZE];

        if (changes[i] != PRICE_CHANGE_VERSION)
            continue;
        (void)fputs("changed   ", stdout);
        print_name(stdout, &import->prices[i]);
        printf(" from %s\n", human_time(import->prices[i].from_us, from));
    }
    print_left_out(import);
    printf("%s%zu prices: %zu new, %zu changed, %zu as before.\n", dry_run ? "Dry run. " : "",
           import->count, count_changes(import, changes, PRICE_CHANGE_NEW),
           count_changes(import, changes, PRICE_CHANGE_VERSION),
           count_changes(import, changes, PRICE_CHANGE_NONE));
}

static void
print_names_json(const char *name, const struct import *import, const enum price_change *changes,
                 enum price_change change)
{
    char storage[4096];
    struct buf json;
    bool any = false;

    printf(",\"%s\":[", name);
    for (size_t i = 0; i < import->count; i++) {
        if (changes[i] != change)
            continue;
        buf_init(&json, storage, sizeof(storage));
        buf_add(&json, "{\"provider\":");
        buf_add_json_string(&json, import->prices[i].provider);
        buf_add(&json, ",\"model\":");
        buf_add_json_string(&json, import->prices[i].model);
        buf_add(&json, ",\"from\":");
        buf_add_json_time(&json, import->prices[i].from_us);
        buf_add_char(&json, '}');
        (void)print_json_item(&json, &any);
    }
    (void)fputs("]", stdout);
}

static void
print_left_out_json(const char *name, const struct import *import, bool whole)
{
    char storage[8192];
    struct buf json;
    bool any = false;

    printf(",\"%s\":[", name);
    for (size_t i = 0; i < import->left_out_count; i++) {
        if (import->left_out[i].whole != whole)
            continue;
        buf_init(&json, storage, sizeof(storage));
        buf_add(&json, "{\"model\":");
        buf_add_json_string(&json, import->left_out[i].model);
        buf_add(&json, ",\"why\":");
        buf_add_json_string(&json, import->left_out[i].why);
        buf_add_char(&json, '}');
        (void)print_json_item(&json, &any);
    }
    (void)fputs("]", stdout);
}

static void
print_import_json(const struct import *import, const enum price_change *changes, bool dry_run)
{
    printf("{\"dry_run\":%s,\"prices\":%zu,\"unchanged\":%zu", dry_run ? "true" : "false",
           import->count, count_changes(import, changes, PRICE_CHANGE_NONE));
    print_names_json("new", import, changes, PRICE_CHANGE_NEW);
    print_names_json("changed", import, changes, PRICE_CHANGE_VERSION);
    print_names_json("conflicts", import, changes, PRICE_CHANGE_CONFLICT);
    print_left_out_json("left_out", import, true);
    print_left_out_json("not_used", import, false);
    (void)puts("}");
}

/* What keeps the whole file from being imported, on standard error. */
static int
print_conflicts(const struct import *import, const enum price_change *changes)
{
    for (size_t i = 0; i < import->count; i++) {
        char from[HUMAN_SIZE];

        if (changes[i] != PRICE_CHANGE_CONFLICT)
            continue;
        (void)fputs("spendgate: ", stderr);
        print_name(stderr, &import->prices[i]);
        (void)fprintf(stderr, ": another price begins at %s already\n",
                      human_time(import->prices[i].from_us, from));
    }
    return command_fail("nothing was imported: prices are never edited; a correction is a new "
                        "version, with a later --from");
}

static int
import_prices(struct admin *admin, struct import *import)
{
    const struct actor actor = command_actor(admin);
    bool dry_run = command_has(admin, OPTION_DRY_RUN);
    enum price_change *changes = calloc(import->count + 1, sizeof(*changes));
    struct error err = { 0 };
    char what[TEXT_FIELD_SIZE + 64];
    int code = DONE;

    if (changes == NULL)
        return command_fail("out of memory");
    (void)snprintf(what, sizeof(what), "price import %s: %zu prices", import->source,
                   import->count);
    if (store_price_import(admin->store, import->prices, import->count, !dry_run, &actor, what,
                           admin->now_us, changes, &err) != STATUS_OK) {
        code = command_error(&err);
    } else {
        if (command_has(admin, OPTION_JSON))
            print_import_json(import, changes, dry_run);
        else if (count_changes(import, changes, PRICE_CHANGE_CONFLICT) == 0)
            print_import(import, changes, dry_run);
        if (count_changes(import, changes, PRICE_CHANGE_CONFLICT) > 0)
            code = print_conflicts(import, changes);
    }
    free(changes);
    return code;
}

int
run_price_import(struct admin *admin)
{
    struct import import = { .from_us = admin->now_us };
    int code = FAILED;

    if (command_has(admin, OPTION_FROM) &&
        !command_time(admin, admin->options[OPTION_FROM], -1, &import.from_us))
        return USAGE;
    if (read_file(admin->arguments[0], &import))
        code = import_prices(admin, &import);
    free(import.prices);
    free(import.left_out);
    return code;
}

/* ---- listing -------------------------------------------------------------------------------- */

struct listing {
    bool as_json, any, failed;
    struct table table;
    struct buf json;
    char storage[ITEM_SIZE];
};

static void
add_rate(struct table *table, const struct price *price, enum price_part part)
{
    int64_t rate = price_rate(price, PRICE_STANDARD, PRICE_BASE, part);
    char text[HUMAN_SIZE];

    table_add(table, rate == PRICE_UNSET ? "-" : human_money(rate, text));
}

/* How many rates there are besides the three that are shown. */
static int
other_rates(const struct price *price)
{
    const int64_t *rates = &price->rates[0][0][0];
    int count = 0;

    for (size_t i = 0; i < sizeof(price->rates) / sizeof(*rates); i++)
        count += rates[i] != PRICE_UNSET;
    count -= price->rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT] != PRICE_UNSET;
    count -= price->rates[PRICE_STANDARD][PRICE_BASE][PRICE_CACHE_READ] != PRICE_UNSET;
    return count - (price->rates[PRICE_STANDARD][PRICE_BASE][PRICE_OUTPUT] != PRICE_UNSET);
}

static void
add_price_row(struct table *table, const struct price_version *version)
{
    char text[HUMAN_SIZE];

    table_add(table, version->model);
    table_add(table, human_text(version->provider));
    add_rate(table, &version->price, PRICE_INPUT);
    add_rate(table, &version->price, PRICE_CACHE_READ);
    add_rate(table, &version->price, PRICE_OUTPUT);
    (void)snprintf(text, sizeof(text), "%d", other_rates(&version->price));
    table_add(table, text);
    table_add(table, human_time(version->from_us, text));
    price_id_format(version->id, text);
    table_add(table, text);
}

static bool
add_price(void *context, const struct price_version *version)
{
    struct listing *listing = context;
    struct buf *json = &listing->json;
    char id[PRICE_ID_SIZE];

    if (!listing->as_json) {
        add_price_row(&listing->table, version);
        return !listing->table.failed;
    }
    price_id_format(version->id, id);
    buf_add(json, "{\"price_id\":");
    buf_add_json_string(json, id);
    buf_add(json, ",\"provider\":");
    buf_add_json_string(json, version->provider);
    buf_add(json, ",\"model\":");
    buf_add_json_string(json, version->model);
    buf_add(json, ",\"from\":");
    buf_add_json_time(json, version->from_us);
    buf_add(json, ",\"source\":");
    buf_add_json_string(json, version->source);
    buf_add(json, ",\"rates\":");
    price_write(&version->price, json);
    buf_add_char(json, '}');
    listing->failed = !print_json_item(json, &listing->any);
    return !listing->failed;
}

int
run_price_list(struct admin *admin)
{
    static const char *const titles[] = { "MODEL",  "PROVIDER", ">INPUT", ">CACHED", ">OUTPUT",
                                          ">OTHER", "FROM",     "PRICE",  NULL };
    const struct price_filter filter = { .provider = admin->options[OPTION_PROVIDER],
                                         .model = admin->options[OPTION_MODEL],
                                         .history = command_has(admin, OPTION_HISTORY),
                                         .at_us = admin->now_us };
    struct listing *listing = calloc(1, sizeof(*listing));
    struct error err = { 0 };
    int code = DONE;

    if (listing == NULL)
        return command_fail("out of memory");
    listing->as_json = command_has(admin, OPTION_JSON);
    buf_init(&listing->json, listing->storage, sizeof(listing->storage));
    table_init(&listing->table, titles);
    if (listing->as_json)
        (void)puts("{\"prices\":[");
    if (store_prices(admin->store, &filter, add_price, listing, &err) != STATUS_OK)
        code = command_error(&err);
    else if (listing->failed)
        code = FAILED;
    if (listing->as_json) {
        (void)puts("\n]}");
        table_clear(&listing->table);
    } else if (!table_print(&listing->table)) {
        code = FAILED;
    } else if (code == DONE) {
        (void)puts("USD per 1,000,000 tokens; --json has every rate.");
    }
    free(listing);
    return code;
}

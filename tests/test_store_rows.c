/* SPDX-License-Identifier: MIT */
/*
 * A store moved into another kind of store and back, through the text of a dump: bit for bit, and
 * alive afterwards. What is no dump fills nothing.
 */
#include "common/store_rows.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/dump_format.h"
#include "common/clock.h"
#include "tests/store/place.h"

#include "common/banned.h"

#define DUMP_SIZE (1024 * 1024)
#define CUTS 9

/* ---- traffic -------------------------------------------------------------------------------- */

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "charge %" PRId64 " of %" PRId64 " \xe2\x82\xac \t", result->charge.id,
                   result->charge.amount_nanos);
}
static const struct reply_writer writer = { write_reply, NULL };

static bool
admit(struct place *p, const char *key, const char *subject, const char *organization,
      const char *unique_id, int64_t now_us, char hold_id[PUBLIC_ID_SIZE])
{
    struct chain_names names;
    struct admission ask = { .names = &names,
                             .plan = &p->plan,
                             .route = &p->route,
                             .verification = 1,
                             .unique_id = unique_id };

    memset(&names, 0, sizeof(names));
    memset(ask.credential, 7, sizeof(ask.credential));
    (void)!text_copy(names.key_id, sizeof(names.key_id), key);
    (void)!text_copy(names.subject, sizeof(names.subject), subject);
    (void)!text_copy(names.organization, sizeof(names.organization), organization);
    CHECK_STATUS(STATUS_OK, store_admit(p->store, &ask, now_us, &p->verdict, &p->err), &p->err);
    if (p->verdict.allow)
        public_id_format("hld_", p->verdict.hold.id, p->verdict.hold.nonce, hold_id);
    return p->verdict.allow;
}

static enum outcome
spend(struct place *p, const struct spend *what, const char *key, int64_t now_us)
{
    struct idempotency idempotency = { .scope = "php", .key = key };

    crypto_sha256(&what->cost_nanos, sizeof(what->cost_nanos), idempotency.fingerprint);
    CHECK_STATUS(STATUS_OK,
                 store_spend(p->store, what, key != NULL ? &idempotency : NULL, &writer, now_us,
                             &p->result, &p->reply, &p->err),
                 &p->err);
    return p->result.outcome;
}

/* What is to be continued in the other store. */
struct live {
    char held[PUBLIC_ID_SIZE];    /* a hold that waits for its post */
    char settled[PUBLIC_ID_SIZE]; /* one that had it */
    char settled_reply[256], keyed_reply[256];
    char charge[PUBLIC_ID_SIZE];
};
static const struct spend keyed = { .subject = "user_1", .cost_nanos = 3, .token = "php" };

static void
fill_money(struct place *p, struct live *live)
{
    char hold[PUBLIC_ID_SIZE];
    struct spend what = { .cost_nanos = 3 * CENT,
                          .model = "m\\odel\twith \"all\"\n",
                          .tags = "a,b",
                          .metadata = "{\"n\":\"\xf0\x9f\x92\xb8\"}",
                          .token = "php",
                          .usage = "{\"input\":3000}",
                          .price_id = 1,
                          .occurred_us = NOON - 5 };

    CHECK_TRUE("void", admit(p, "ak_1", "user_1", "org_1", "", NOON, hold));
    CHECK_STATUS(STATUS_OK,
                 store_hold_void(p->store, hold, NULL, NULL, NOON, &p->result, &p->reply, &p->err),
                 &p->err);
    CHECK_TRUE("expire", admit(p, "ak_2", "user_2", "", "", NOON - 2 * TTL, hold));
    CHECK_TRUE("settle", admit(p, "ak_1", "user_1", "org_1", "", NOON, live->settled));
    what.hold_id = live->settled;
    CHECK_INT("settle", OUTCOME_DONE, spend(p, &what, "settle", NOON));
    (void)!text_copy(live->settled_reply, sizeof(live->settled_reply), buf_text(&p->reply));
    public_id_format("chg_", p->result.charge.id, p->result.charge.nonce, live->charge);
    CHECK_INT("keyed", OUTCOME_DONE, spend(p, &keyed, "key-1", NOON));
    (void)!text_copy(live->keyed_reply, sizeof(live->keyed_reply), buf_text(&p->reply));
    what = (struct spend){ .hold_id = "hld_lost", .subject = "user_1", .cost_nanos = 5 };
    CHECK_INT("unknown hold", OUTCOME_DONE, spend(p, &what, NULL, NOON));
    CHECK_STATUS(STATUS_OK,
                 store_refund(p->store, live->charge, CENT, "operator", "a note", NULL, NULL, NOON,
                              &p->result, &p->reply, &p->err),
                 &p->err);
    CHECK_TRUE("hold", admit(p, "ak_1", "user_1", "org_1", "unique", NOON, live->held));
}

/* A store with rows in every table. */
static void
fill(struct place *p, struct live *live)
{
    const struct actor actor = { "operator", "why \xc3\xa9" };
    const enum enforce enforce = ENFORCE_WARN;
    const struct credit_request credit = { .account = "user_1",
                                           .amount_nanos = 7 * CENT,
                                           .period = PERIOD_MONTH };
    const struct clerk_note note = { .title = "CI \xf0\x9f\x94\x91", .expires_us = NOON };
    bool found;

    raw_sql(p,
            p->kind == SQLITE
                ? "INSERT INTO price (provider, model, from_us, rates, source) VALUES ('o', 'm', "
                  "1, '{\"input\":\"10\"}', 's')"
                : "INSERT INTO spendgate.price (provider, model, from_us, rates, source) VALUES "
                  "('o', 'm', 1, '{\"input\":\"10\"}', 's')",
            NULL, 0);
    fill_money(p, live);
    CHECK_STATUS(STATUS_OK, store_clerk_note_put(p->store, "key:ak_1", &note, &found, &p->err),
                 &p->err);
    CHECK_STATUS(
        STATUS_OK,
        store_credit(p->store, &credit, &actor, NULL, NULL, NOON, &p->result, &p->reply, &p->err),
        &p->err);
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(p->store, "user_1", PERIOD_DAY, USD, &enforce, &actor, NOON,
                                  &p->result, &p->err),
                 &p->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(p->store, "user_2", ACCOUNT_PARENT, 0, "group:red", &actor,
                                      NOON, &p->result, &p->err),
                 &p->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(p->store, "key:ak_9", ACCOUNT_REVOKE, 0, NULL, &actor, NOON,
                                      &p->result, &p->err),
                 &p->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(p->store, "user_2", ACCOUNT_REVERIFY, 0, NULL, &actor, NOON,
                                      &p->result, &p->err),
                 &p->err);
    raw_sql(p,
            p->kind == SQLITE
                ? "UPDATE event SET told_us = 5 WHERE id = (SELECT min(id) FROM event)"
                : "UPDATE spendgate.event SET told_us = 5 WHERE id = (SELECT min(id) FROM "
                  "spendgate.event)",
            NULL, 0);
}

/* ---- a dump in memory ----------------------------------------------------------------------- */

struct text {
    char *bytes;
    size_t length;
    struct dump_writer writer;
    size_t table;
};

static void
add_line(struct text *t, bool ok)
{
    const struct buf *line = &t->writer.line;

    if (!ok || t->length + line->length >= DUMP_SIZE)
        abort();
    memcpy(t->bytes + t->length, line->data, line->length);
    t->length += line->length;
    t->bytes[t->length] = '\0';
}

static bool
add_row(void *context, const struct row_value *values)
{
    struct text *t = context;

    add_line(t, dump_write_row(&t->writer, t->table, values));
    return true;
}

/* The caller frees it. */
static char *
dump(struct place *p)
{
    char *storage = malloc(DUMP_LINE_MAX + 2);
    struct text t = { .bytes = calloc(1, DUMP_SIZE) };
    int64_t count;

    if (storage == NULL || t.bytes == NULL)
        abort();
    dump_writer_init(&t.writer, &dump_tables_of_store, storage, DUMP_LINE_MAX + 2);
    CHECK_STATUS(STATUS_OK, store_rows_begin(p->store, &p->err), &p->err);
    add_line(&t, dump_write_begin(&t.writer));
    for (t.table = 0; t.table < ROW_TABLES; t.table++) {
        add_line(&t, dump_write_table(&t.writer, t.table));
        CHECK_STATUS(STATUS_OK,
                     store_rows_visit(p->store, &row_tables[t.table], add_row, &t, &p->err),
                     &p->err);
        CHECK_STATUS(STATUS_OK, store_rows_count(p->store, &row_tables[t.table], &count, &p->err),
                     &p->err);
        CHECK_INT(row_tables[t.table].name, count, t.writer.rows[t.table]);
    }
    add_line(&t, dump_write_end(&t.writer));
    store_rows_end(p->store);
    free(storage);
    return t.bytes;
}

static enum status
fill_from(struct place *p, struct dump_reader *reader, const char *text)
{
    enum dump_kind kind;
    const char *end;
    enum status status = store_fill_begin(p->store, &p->err);

    for (; status == STATUS_OK && (end = strchr(text, '\n')) != NULL; text = end + 1) {
        status = dump_read(reader, text, (size_t)(end - text), &kind, &p->err);
        if (status == STATUS_OK && kind == DUMP_ROW)
            status = store_fill_row(p->store, &row_tables[reader->tables_seen - 1], reader->values,
                                    &p->err);
    }
    return status == STATUS_OK ? dump_read_end(reader, &p->err) : status;
}

/* As `spendgate load` does. */
static enum status
load(struct place *p, const char *text)
{
    struct dump_reader reader;
    struct error ignored;
    enum status status;

    dump_reader_init(&reader, &dump_tables_of_store);
    status = fill_from(p, &reader, text);
    if (status == STATUS_OK)
        status = store_fill_end(p->store, true, &p->err);
    else
        CHECK_STATUS(STATUS_OK, store_fill_end(p->store, false, &ignored), &ignored);
    dump_reader_clear(&reader);
    return status;
}

/* ---- round trips ---------------------------------------------------------------------------- */

/* Everything goes on where it was: the hold is settled, repeats get their bytes, new rows get new
 * numbers. */
static void
go_on(struct place *p, const struct live *live)
{
    struct spend what = { .hold_id = live->settled, .cost_nanos = 3 * CENT, .token = "php" };
    char hold[PUBLIC_ID_SIZE], bytes[256];

    CHECK_INT("repeat of a settled hold", OUTCOME_REPLAYED, spend(p, &what, NULL, NOON + SECOND));
    CHECK_STRING("its bytes", live->settled_reply, buf_text(&p->reply));
    CHECK_INT("repeat of a key", OUTCOME_REPLAYED, spend(p, &keyed, "key-1", NOON + SECOND));
    CHECK_STRING("its bytes", live->keyed_reply, buf_text(&p->reply));
    what = (struct spend){ .hold_id = "hld_lost", .subject = "user_1", .cost_nanos = 5 };
    CHECK_INT("repeat of an unknown hold", OUTCOME_REPLAYED, spend(p, &what, NULL, NOON + SECOND));
    CHECK_TRUE("the same client request",
               admit(p, "ak_1", "user_1", "org_1", "unique", NOON + SECOND, hold));
    CHECK_STRING("its hold", live->held, hold);
    what = (struct spend){ .hold_id = live->held, .cost_nanos = 2 * CENT, .token = "php" };
    CHECK_INT("settle", OUTCOME_DONE, spend(p, &what, NULL, NOON + SECOND));
    CHECK_STRING("settle", "settled", p->result.hold_word);
    (void)!text_copy(bytes, sizeof(bytes), buf_text(&p->reply));
    CHECK_INT("settle again", OUTCOME_REPLAYED, spend(p, &what, NULL, NOON + SECOND));
    CHECK_STRING("its bytes", bytes, buf_text(&p->reply));
    CHECK_TRUE("new key", admit(p, "ak_7", "user_7", "org_7", "", NOON + SECOND, hold));
    what = (struct spend){ .hold_id = hold, .cost_nanos = 1, .token = "php" };
    CHECK_INT("settle a new hold", OUTCOME_DONE, spend(p, &what, NULL, NOON + SECOND));
    CHECK_FALSE("revoked", admit(p, "ak_9", "user_1", "", "", NOON, hold));
    CHECK_INT("verify", 0, differences(p));
}

static void
round_trip(enum kind from, enum kind to)
{
    struct place *a = make_place(from), *b = make_place(to), *c = make_place(from);
    char *first, *second, *third;
    struct live live;

    fill(a, &live);
    CHECK_INT("verify", 0, differences(a));
    first = dump(a);
    for (size_t i = 0; i < ROW_TABLES; i++) {
        char nothing[128];

        snprintf(nothing, sizeof(nothing), "\"%s\":0", row_tables[i].name);
        CHECK_TRUE(row_tables[i].name, strstr(first, nothing) == NULL);
    }
    CHECK_STATUS(STATUS_OK, load(b, first), &b->err);
    CHECK_INT("verify", 0, differences(b));
    second = dump(b);
    CHECK_STRING("the same bytes", first, second);
    CHECK_STATUS(STATUS_OK, load(c, second), &c->err);
    CHECK_INT("verify", 0, differences(c));
    third = dump(c);
    CHECK_STRING("the same bytes again", first, third);
    go_on(b, &live);
    go_on(c, &live);
    go_on(a, &live);
    free(first);
    free(second);
    free(third);
    drop_place(a);
    drop_place(b);
    drop_place(c);
}

static void
test_sqlite_to_sqlite_is_bit_for_bit(void)
{
    round_trip(SQLITE, SQLITE);
}

static const char *
text_after(const char *text, const char *what)
{
    const char *at = strstr(text, what);

    return at != NULL ? at + strlen(what) : "";
}

/* ---- what fills nothing ---------------------------------------------------------------------- */

static void
check_still_new(struct place *p, const char *fresh)
{
    char *now = dump(p);

    CHECK_STRING("nothing was loaded", fresh, now);
    free(now);
}

static void
refuse(struct place *p, const char *fresh, const char *text, enum status status,
       const char *message)
{
    CHECK_INT(message, status, load(p, text));
    if (strstr(p->err.message, message) == NULL)
        CHECK_STRING("message", message, p->err.message);
    check_still_new(p, fresh);
}

/* `text` with `what` once replaced. */
static const char *
edited(const char *text, const char *what, const char *by)
{
    static char out[DUMP_SIZE];
    const char *at = strstr(text, what);
    struct buf result;

    if (at == NULL)
        abort();
    buf_init(&result, out, sizeof(out));
    buf_add_bytes(&result, text, (size_t)(at - text));
    buf_add(&result, by);
    buf_add(&result, at + strlen(what));
    return out;
}

/* The same with a digest that fits: an edit by somebody who knows how. */
static const char *
forged(const char *text)
{
    static char out[DUMP_SIZE];
    const char *end = strstr(text, "{\"end\""), *digest = text_after(end, "\"sha256\":\"");
    uint8_t bytes[SHA256_BYTES];
    struct buf result;

    crypto_sha256(text, (size_t)(end - text), bytes);
    buf_init(&result, out, sizeof(out));
    buf_add_bytes(&result, text, (size_t)(digest - text));
    buf_add_hex(&result, bytes, sizeof(bytes));
    buf_add(&result, "\"}\n");
    return out;
}

static void
refuse_all(enum kind kind)
{
    struct place *full = make_place(SQLITE), *p = make_place(kind);
    char *whole, *fresh, cut[DUMP_SIZE];
    struct live live;
    size_t length;

    fill(full, &live);
    whole = dump(full);
    fresh = dump(p);
    length = strlen(whole);
    for (size_t part = 0; part < CUTS; part++) {
        size_t keep = part * (length - 1) / (CUTS - 1);

        memcpy(cut, whole, keep);
        cut[keep] = '\0';
        CHECK_INT("cut", STATUS_INVALID, load(p, cut));
    }
    check_still_new(p, fresh);
    refuse(p, fresh, edited(whole, "30000000", "20000000"), STATUS_INVALID,
           "the digest is another: the dump was changed or damaged");
    refuse(p, fresh, edited(whole, "\"account\":", "\"account\":1"), STATUS_INVALID,
           "rows of account came, and that is not what the end says");
    refuse(p, fresh, forged(edited(whole, "[1,\"all\"", "[1,\"nobody\"")), STATUS_INVALID,
           "no row of account is called 'all': this is not all of a store");
    refuse(p, fresh,
           forged(edited(whole, "[2,\"key:ak_1\",\"pro\",0,0,0", "[2,\"key:ak_1\",\"pro\",0,2,0")),
           STATUS_INVALID, "breaks a rule of the schema");
    refuse(p, fresh, forged(edited(whole, "\"key:ak_2\"", "\"key:ak_1\"")), STATUS_INVALID,
           "breaks a rule of the schema");
    CHECK_STATUS(STATUS_OK, load(p, whole), &p->err);
    CHECK_INT("not empty", STATUS_CONFLICT, load(p, whole));
    check_still_new(p, whole);
    go_on(p, &live);
    free(whole);
    free(fresh);
    drop_place(full);
    drop_place(p);
}

static void
test_what_is_no_whole_dump_fills_nothing_in_sqlite(void)
{
    refuse_all(SQLITE);
}

/* Without its last byte, its last two, and so on to the empty one. */
static void
test_a_dump_that_was_cut_off_is_refused_wherever_it_was(void)
{
    struct place *p = make_place(SQLITE);
    struct live live;
    size_t length;
    char *whole;

    fill(p, &live);
    whole = dump(p);
    length = strlen(whole);
    while (length-- > 0) {
        struct dump_reader reader;
        enum dump_kind kind;
        const char *end, *at = whole;
        enum status status = STATUS_OK;

        whole[length] = '\0';
        dump_reader_init(&reader, &dump_tables_of_store);
        for (; status == STATUS_OK && (end = strchr(at, '\n')) != NULL; at = end + 1)
            status = dump_read(&reader, at, (size_t)(end - at), &kind, &p->err);
        CHECK_STATUS(STATUS_OK, status, &p->err);
        CHECK_INT("cut off", STATUS_INVALID, dump_read_end(&reader, &p->err));
        dump_reader_clear(&reader);
    }
    CHECK_STRING("empty", "the dump is empty", p->err.message);
    free(whole);
    drop_place(p);
}

static void
test_a_note_that_is_not_utf8_moves_as_it_is(void)
{
    const struct actor actor = { "operator", "\xff\xfe" };
    struct place *a = make_place(SQLITE), *b = make_place(SQLITE);
    char *first, *second;

    CHECK_STATUS(STATUS_OK,
                 store_account_change(a->store, "user_1", ACCOUNT_FREEZE, 0, NULL, &actor, NOON,
                                      &a->result, &a->err),
                 &a->err);
    first = dump(a);
    CHECK_TRUE("as bytes", strstr(first, "{\"bytes\":\"__4\"}") != NULL);
    CHECK_STATUS(STATUS_OK, load(b, first), &b->err);
    second = dump(b);
    CHECK_STRING("the same bytes", first, second);
    free(second);
    drop_place(b);
#ifdef HAVE_POSTGRES
    b = make_place(POSTGRES);
    second = dump(b);
    refuse(b, second, first, STATUS_INVALID,
           "fill event: a row breaks a rule of the schema: invalid byte sequence for encoding");
    free(second);
    drop_place(b);
#endif
    free(first);
    drop_place(a);
}

/* In another process: what a program of another host gets meanwhile. */
static int
admit_elsewhere(struct place *p)
{
    int status = -1;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        struct chain_names names = { .key_id = "ak_1", .subject = "user_1" };
        struct admission ask = {
            .names = &names, .plan = &p->plan, .verification = 1, .unique_id = ""
        };

        if (open_place(p) != STATUS_OK)
            _exit(50);
        _exit(store_admit(p->store, &ask, NOON, &p->verdict, &p->err) == STATUS_BUSY &&
                      !p->verdict.allow
                  ? 51
                  : 52);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void
test_nobody_is_admitted_while_a_store_is_filled(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct place *p = make_place((enum kind)i);
        struct place other = *p;
        char *fresh = dump(p);

        CHECK_STATUS(STATUS_OK, store_fill_begin(p->store, &p->err), &p->err);
        CHECK_INT(kind_names[i], 51, admit_elsewhere(&other));
        CHECK_STATUS(STATUS_OK, store_fill_end(p->store, false, &p->err), &p->err);
        check_still_new(p, fresh);
        free(fresh);
        drop_place(p);
    }
}

/* ---- the table of tables -------------------------------------------------------------------- */

#define COLUMN_TEXT_SIZE 80

#define LINES_MAX (2 * ROW_TABLES * ROW_COLUMNS_MAX)

struct lines {
    char texts[LINES_MAX][COLUMN_TEXT_SIZE]; /* "table.column type", a '?' behind a nullable one */
    size_t count;
};

static void
list_known(struct lines *out)
{
    static const char *const types[] = { "int", "text", "bytes" };

    for (size_t i = 0; i < ROW_TABLES; i++) {
        for (size_t c = 0; c < row_column_count(&row_tables[i]); c++) {
            const struct row_column *column = &row_tables[i].columns[c];

            snprintf(out->texts[out->count++], COLUMN_TEXT_SIZE, "%s.%s %s%s", row_tables[i].name,
                     column->name, types[column->type], column->nullable ? "?" : "");
        }
    }
}

/* A schema's columns: lines in one text. */
static void
split(const char *text, struct lines *out)
{
    while (*text != '\0' && out->count < LINES_MAX) {
        size_t length = strcspn(text, "\n");

        snprintf(out->texts[out->count++], COLUMN_TEXT_SIZE, "%.*s", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void
check_all_in(const char *what, const struct lines *these, const struct lines *those)
{
    for (size_t i = 0; i < these->count; i++) {
        bool found = false;

        for (size_t n = 0; n < those->count && !found; n++)
            found = strcmp(these->texts[i], those->texts[n]) == 0;
        if (!found)
            CHECK_STRING(what, "", these->texts[i]);
    }
    CHECK_TRUE("there are columns", these->count > 0);
}

static void
compare_with_schema(enum kind kind, const char *sql)
{
    struct place *p = make_place(kind);
    static struct lines schema, known;
    static char text[16384];

    schema.count = known.count = 0;
    list_known(&known);
    raw_sql(p, sql, text, sizeof(text));
    split(text, &schema);
    check_all_in("a column that row_tables (store_rows.c) lacks", &schema, &known);
    check_all_in("a column that the schema does not have so", &known, &schema);
    drop_place(p);
}

static void
test_every_column_of_the_sqlite_schema_is_moved(void)
{
    compare_with_schema(
        SQLITE,
        "SELECT group_concat(line, char(10)) FROM (SELECT m.name || '.' || c.name || ' ' || "
        "CASE c.type WHEN 'INTEGER' THEN 'int' WHEN 'TEXT' THEN 'text' WHEN 'BLOB' THEN 'bytes' "
        "ELSE c.type END || CASE WHEN c.\"notnull\" = 0 AND c.pk = 0 THEN '?' ELSE '' END AS line "
        "FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1)");
}

#ifdef HAVE_POSTGRES
/* What the schema derives is left out: its own steps, the uniqueness of hold texts, partitions. */
static void
test_every_column_of_the_postgresql_schema_is_moved(void)
{
    compare_with_schema(
        POSTGRES,
        "SELECT string_agg(line, E'\\n' ORDER BY line COLLATE \"C\") FROM (SELECT table_name || "
        "'.' "
        "|| column_name || ' ' || CASE data_type WHEN 'bigint' THEN 'int' WHEN 'integer' THEN "
        "'int' WHEN 'smallint' THEN 'int' WHEN 'bytea' THEN 'bytes' ELSE data_type END || CASE "
        "is_nullable WHEN 'YES' THEN '?' ELSE '' END AS line FROM information_schema.columns "
        "WHERE table_schema = 'spendgate' AND table_name NOT IN ('schema_step', "
        "'charge_hold_text') AND table_name NOT LIKE 'charge\\_%') c");
}

static void
test_sqlite_to_postgresql_and_back_is_bit_for_bit(void)
{
    round_trip(SQLITE, POSTGRES);
}

static void
test_postgresql_to_sqlite_and_back_is_bit_for_bit(void)
{
    round_trip(POSTGRES, SQLITE);
}

static void
test_what_is_no_whole_dump_fills_nothing_in_postgresql(void)
{
    refuse_all(POSTGRES);
}

static void
test_postgresql_numbers_begin_behind_those_that_came(void)
{
    struct place *a = make_place(SQLITE), *b = make_place(POSTGRES);
    const struct actor actor = { "operator", NULL };
    char highest[64], hold[PUBLIC_ID_SIZE];
    struct live live;
    char *text;

    fill(a, &live);
    text = dump(a);
    raw_sql(b, "SELECT nextval('spendgate.hold_number')", NULL, 0); /* of a request that failed */
    CHECK_STATUS(STATUS_OK, load(b, text), &b->err);
    CHECK_TRUE("admit", admit(b, "ak_7", "user_7", "", "", NOON, hold));
    CHECK_STATUS(STATUS_OK,
                 store_account_change(b->store, "user_8", ACCOUNT_FREEZE, 0, NULL, &actor, NOON,
                                      &b->result, &b->err),
                 &b->err);
    raw_sql(a,
            "SELECT (SELECT max(id) + 1 FROM hold) || ' ' || (SELECT max(id) + 1 FROM event) || "
            "' ' || (SELECT max(id) + 1 FROM chain) || ' ' || (SELECT max(id) + 3 FROM account)",
            highest, sizeof(highest));
    raw_sql(b,
            "SELECT (SELECT max(id) FROM spendgate.hold) || ' ' || (SELECT max(id) FROM "
            "spendgate.event) || ' ' || (SELECT max(id) FROM spendgate.chain) || ' ' || (SELECT "
            "max(id) FROM spendgate.account)",
            hold, sizeof(hold));
    CHECK_STRING("numbers", highest, hold);
    free(text);
    drop_place(a);
    drop_place(b);
}

static void
test_postgresql_charges_lie_in_the_partitions_of_their_months(void)
{
    struct place *a = make_place(SQLITE), *b = make_place(POSTGRES);
    char found[256];
    struct live live;
    char *text;

    fill(a, &live);
    raw_sql(a,
            "UPDATE charge SET created_us = 1700000000000000 WHERE id = 1;" /* November 2023 */
            "UPDATE charge SET created_us = 1735000000000000 WHERE id = 2", /* December 2024 */
            NULL, 0);
    text = dump(a);
    CHECK_STATUS(STATUS_OK, load(b, text), &b->err);
    raw_sql(b,
            "SELECT string_agg(id || ' ' || tableoid::regclass, ', ' ORDER BY id) FROM "
            "spendgate.charge WHERE id < 3",
            found, sizeof(found));
    CHECK_STRING("partitions", "1 spendgate.charge_2023_11, 2 spendgate.charge_2024_12", found);
    free(text);
    drop_place(a);
    drop_place(b);
}

static void
test_postgresql_wants_the_owner_of_the_schema(void)
{
    struct place *p = make_place(POSTGRES);
    struct buf url;
    char *fresh = dump(p);

    raw_sql(p,
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rows_app') THEN "
            "CREATE ROLE rows_app LOGIN IN ROLE spendgate_app; END IF; END $$",
            NULL, 0);
    store_close(p->store);
    buf_init(&url, p->url, sizeof(p->url));
    buf_add_format(&url, "postgresql:///%s?host=%s&user=rows_app", p->database,
                   place_cluster.folder);
    CHECK_STATUS(STATUS_OK, open_place(p), &p->err);
    refuse(p, fresh, fresh, STATUS_UNAVAILABLE,
           "run this as the owner of the schema, as `spendgate migrate`");
    free(fresh);
    drop_place(p);
}

static void
test_a_connection_that_is_lost_fills_nothing(void)
{
    struct place *a = make_place(SQLITE), *b = make_place(POSTGRES);
    struct error ignored;
    struct live live;
    char *text, *fresh;

    fill(a, &live);
    text = dump(a);
    fresh = dump(b);
    for (int rows = 0; rows < 40; rows += 13) {
        struct dump_reader reader;
        enum dump_kind kind;
        const char *end, *at = text;
        enum status status = store_fill_begin(b->store, &b->err);

        CHECK_STATUS(STATUS_OK, status, &b->err);
        dump_reader_init(&reader, &dump_tables_of_store);
        for (int i = 0; status == STATUS_OK && (end = strchr(at, '\n')) != NULL; at = end + 1) {
            status = dump_read(&reader, at, (size_t)(end - at), &kind, &b->err);
            if (status == STATUS_OK && kind == DUMP_ROW && i++ == rows)
                cluster_sql(&place_cluster, "postgres",
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE application_name = 'spendgate'",
                            NULL, 0);
            if (status == STATUS_OK && kind == DUMP_ROW)
                status = store_fill_row(b->store, &row_tables[reader.tables_seen - 1],
                                        reader.values, &b->err);
        }
        if (status == STATUS_OK)
            status = store_fill_end(b->store, true, &b->err);
        else
            CHECK_STATUS(STATUS_OK, store_fill_end(b->store, false, &ignored), &ignored);
        CHECK_TRUE("an error", status != STATUS_OK);
        dump_reader_clear(&reader);
        check_still_new(b, fresh);
    }
    CHECK_STATUS(STATUS_OK, load(b, text), &b->err);
    free(text);
    free(fresh);
    drop_place(a);
    drop_place(b);
}
#endif

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_every_column_of_the_sqlite_schema_is_moved),
        CHECK_TEST(test_sqlite_to_sqlite_is_bit_for_bit),
        CHECK_TEST(test_what_is_no_whole_dump_fills_nothing_in_sqlite),
        CHECK_TEST(test_a_dump_that_was_cut_off_is_refused_wherever_it_was),
        CHECK_TEST(test_a_note_that_is_not_utf8_moves_as_it_is),
        CHECK_TEST(test_nobody_is_admitted_while_a_store_is_filled),
#ifdef HAVE_POSTGRES
        CHECK_TEST(test_every_column_of_the_postgresql_schema_is_moved),
        CHECK_TEST(test_sqlite_to_postgresql_and_back_is_bit_for_bit),
        CHECK_TEST(test_postgresql_to_sqlite_and_back_is_bit_for_bit),
        CHECK_TEST(test_what_is_no_whole_dump_fills_nothing_in_postgresql),
        CHECK_TEST(test_postgresql_numbers_begin_behind_those_that_came),
        CHECK_TEST(test_postgresql_charges_lie_in_the_partitions_of_their_months),
        CHECK_TEST(test_postgresql_wants_the_owner_of_the_schema),
        CHECK_TEST(test_a_connection_that_is_lost_fills_nothing),
#endif
    };

    return place_main("store_rows", tests, CHECK_COUNT(tests));
}

/* SPDX-License-Identifier: MIT */
/* What `spendgate doctor` is told about a PostgreSQL store. Changes nothing. */
#include "common/store_postgres.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"

#include "common/banned.h"

#define VERSION_MIN 140000 /* the oldest that is still looked after */
#define CLOCK_WARN_US (2 * US_PER_SECOND)
#define CLOCK_PROBLEM_US (60 * US_PER_SECOND)
#define MONTHS_LOOKED_AHEAD "2"

/* One row, each column a fact. */
enum fact {
    FACT_VERSION,
    FACT_VERSION_TEXT,
    FACT_SYNCHRONOUS_COMMIT,
    FACT_FSYNC,
    FACT_FULL_PAGES,
    FACT_USER,
    FACT_SUPERUSER,
    FACT_SCHEMA_OWNER,
    FACT_MAY_CREATE,
    FACT_MAY_REWRITE, /* a charge or a credit */
    FACT_MISSING,     /* rights the programs need and have not; "" none */
    FACT_CLOCK,
    FACT_PARTITIONS_MISSING,
    FACT_IN_DEFAULT, /* charges in the partition for what falls outside of the months */
    FACT_COUNT,
};

static const char facts_sql[] =
    "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
    " current_setting('synchronous_commit'), current_setting('fsync'),"
    " current_setting('full_page_writes'), current_user,"
    " (SELECT rolsuper::int FROM pg_roles WHERE rolname = current_user),"
    " (SELECT pg_has_role(current_user, nspowner, 'MEMBER')::int FROM pg_namespace"
    "  WHERE nspname = 'spendgate'),"
    " has_schema_privilege('spendgate', 'CREATE')::int,"
    " (has_table_privilege('spendgate.charge', 'UPDATE, DELETE, TRUNCATE')"
    "  OR has_table_privilege('spendgate.credit', 'UPDATE, DELETE, TRUNCATE'))::int,"
    " (SELECT coalesce(string_agg(what || ' on ' || name, ', '), '') FROM (VALUES"
    "  ('INSERT', 'account'), ('UPDATE', 'account'), ('INSERT', 'budget'),"
    "  ('INSERT', 'budget_period'), ('UPDATE', 'budget_period'), ('INSERT', 'hold'),"
    "  ('UPDATE', 'hold'), ('INSERT', 'charge'), ('INSERT', 'credit'), ('INSERT', 'event'),"
    "  ('INSERT', 'idempotency'), ('DELETE', 'idempotency'), ('UPDATE', 'counter'))"
    "  AS needed (what, name) WHERE NOT has_table_privilege('spendgate.' || name, what)),"
    " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
    " (SELECT count(*) FROM generate_series(0, " MONTHS_LOOKED_AHEAD ") AS month"
    "  WHERE to_regclass('spendgate.charge_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')"
    "   + make_interval(months => month), 'YYYY_MM')) IS NULL),"
    " (SELECT count(*) FROM (SELECT 1 FROM spendgate.charge_default LIMIT 1) AS misplaced)";

/* ---- the way there -------------------------------------------------------------------------- */

static bool
is_local(const char *host, size_t length)
{
    return length == 0 || host[0] == '/' || host[0] == '@' ||
           (length == 9 && strncasecmp(host, "localhost", 9) == 0) ||
           (length > 4 && strncmp(host, "127.", 4) == 0) ||
           (length == 3 && strncmp(host, "::1", 3) == 0);
}

/* Whether every host of a comma-separated list is this machine. */
static bool
all_local(const char *hosts)
{
    if (hosts == NULL)
        return true;
    while (true) {
        size_t length = strcspn(hosts, ",");

        if (!is_local(hosts, length))
            return false;
        if (hosts[length] == '\0')
            return true;
        hosts += length + 1;
    }
}

/* The value of an option of the URL, else of its environment variable, else its default. */
static const char *
option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        const char *environment;

        if (strcmp(o->keyword, keyword) != 0)
            continue;
        if (o->val != NULL)
            return o->val;
        environment = o->envvar != NULL ? getenv(o->envvar) : NULL;
        return environment != NULL ? environment : o->compiled;
    }
    return NULL;
}

static void
examine_way(struct postgres_store *s, const struct finding_sink *sink)
{
    static const char *const weak[] = { "disable", "allow", "prefer" };
    PQconninfoOption *options = PQconninfoParse(s->url, NULL);
    const char *mode, *address;
    bool local;

    if (options == NULL)
        return;
    mode = option_value(options, "sslmode");
    address = option_value(options, "hostaddr");
    local = address != NULL && address[0] != '\0' ? all_local(address)
                                                  : all_local(option_value(options, "host"));
    for (size_t i = 0; mode != NULL && !local && i < sizeof(weak) / sizeof(weak[0]); i++) {
        if (strcmp(mode, weak[i]) == 0)
            finding_tell(sink, FINDING_WARNING, "postgres",
                         "%s: sslmode is %s, so the password and all money may go over the network "
                         "in clear\nadd sslmode=verify-full (at least sslmode=require) to "
                         "store { url }",
                         s->place, mode);
    }
    if (mode != NULL && !local && strcmp(mode, "require") == 0)
        finding_tell(sink, FINDING_NOTE, "postgres",
                     "%s: sslmode=require encrypts, but takes any server for this one\n"
                     "sslmode=verify-full with sslrootcert=... also looks who it is",
                     s->place);
    PQconninfoFree(options);
}

/* ---- the server ----------------------------------------------------------------------------- */

static void
examine_server(const struct postgres_store *s, const PGresult *facts,
               const struct finding_sink *sink)
{
    const char *version = PQgetvalue(facts, 0, FACT_VERSION_TEXT);

    if (pg_get_int(facts, 0, FACT_VERSION) < VERSION_MIN)
        finding_tell(sink, FINDING_WARNING, "postgres",
                     "%s: PostgreSQL %s is not looked after any more\nmove to a newer one",
                     s->place, version);
    if (strcmp(PQgetvalue(facts, 0, FACT_FSYNC), "on") != 0)
        finding_tell(sink, FINDING_PROBLEM, "postgres",
                     "%s: fsync is off: a crash of its machine loses charges that were "
                     "acknowledged\nfsync = on in postgresql.conf, then run `spendgate verify'",
                     s->place);
    if (strcmp(PQgetvalue(facts, 0, FACT_FULL_PAGES), "on") != 0)
        finding_tell(
            sink, FINDING_WARNING, "postgres",
            "%s: full_page_writes is off: a crash of its machine can damage tables, unless "
            "its file system never tears a page\nfull_page_writes = on in postgresql.conf",
            s->place);
    finding_tell(
        sink, FINDING_OK, "postgres",
        "%s: PostgreSQL %s answers; its synchronous_commit is %s, and what must be durable "
        "is committed with on, whatever that is",
        s->place, version, PQgetvalue(facts, 0, FACT_SYNCHRONOUS_COMMIT));
}

static void
examine_rights(const struct postgres_store *s, const PGresult *facts,
               const struct finding_sink *sink)
{
    const char *user = PQgetvalue(facts, 0, FACT_USER);
    const char *missing = PQgetvalue(facts, 0, FACT_MISSING);
    const char *what = NULL;

    if (missing[0] != '\0') {
        finding_tell(sink, FINDING_PROBLEM, "postgres",
                     "%s: the user %s lacks %s: requests are answered 503\nas the owner of the "
                     "database: GRANT spendgate_app TO \"%s\"",
                     s->place, user, missing, user);
        return;
    }
    if (pg_get_int(facts, 0, FACT_SUPERUSER) != 0)
        what = "is a superuser";
    else if (pg_get_int(facts, 0, FACT_SCHEMA_OWNER) != 0)
        what = "owns the schema";
    else if (pg_get_int(facts, 0, FACT_MAY_CREATE) != 0)
        what = "may create tables in the schema";
    else if (pg_get_int(facts, 0, FACT_MAY_REWRITE) != 0)
        what = "may change charges and credits";
    if (what == NULL)
        finding_tell(sink, FINDING_OK, "postgres",
                     "%s: the user %s may do what the programs need, and not change the schema",
                     s->place, user);
    else
        finding_tell(sink, FINDING_WARNING, "postgres",
                     "%s: the user %s %s: whoever gets hold of a program could rewrite the books\n"
                     "log in as a user of its own (CREATE ROLE spendgate LOGIN PASSWORD '...'; "
                     "GRANT spendgate_app TO spendgate) and run `spendgate migrate' as the owner",
                     s->place, user, what);
}

static void
examine_clock(const struct postgres_store *s, int64_t difference_us,
              const struct finding_sink *sink)
{
    int64_t size_us = difference_us < 0 ? -difference_us : difference_us;

    if (size_us <= CLOCK_WARN_US)
        finding_tell(sink, FINDING_OK, "clock", "this host and the database differ by %lld ms",
                     (long long)(size_us / 1000));
    else
        finding_tell(sink, size_us > CLOCK_PROBLEM_US ? FINDING_PROBLEM : FINDING_WARNING, "clock",
                     "%s: its clock is %lld s %s that of this host; budgets go by the database, "
                     "tokens and logs by the host\nkeep both by NTP (timedatectl)",
                     s->place, (long long)(size_us / US_PER_SECOND),
                     difference_us < 0 ? "behind" : "ahead of");
}

static void
examine_partitions(const struct postgres_store *s, const PGresult *facts,
                   const struct finding_sink *sink)
{
    bool missing = pg_get_int(facts, 0, FACT_PARTITIONS_MISSING) != 0;
    bool misplaced = pg_get_int(facts, 0, FACT_IN_DEFAULT) != 0;

    if (missing || misplaced)
        finding_tell(sink, FINDING_WARNING, "postgres",
                     "%s: %s: charges go to the default partition, and reports get slower\nrun "
                     "`spendgate prune' every day (or `spendgate migrate' now)",
                     s->place,
                     missing ? "the partitions of the coming months are missing"
                             : "there are charges outside of the months that have partitions");
    else
        finding_tell(sink, FINDING_OK, "postgres",
                     "%s: the partitions of this month and the next are there", s->place);
}

static int64_t
wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

void
postgres_examine(const struct store_options *options, const struct finding_sink *sink)
{
    struct store_options quiet = *options;
    struct store_backend *backend = NULL;
    struct postgres_store *s;
    PGresult *facts = NULL;
    struct error err;
    int64_t before_us;
    enum status status;

    quiet.create = false;
    if (store_postgres_ops.open(&quiet, &backend, &err) != STATUS_OK) {
        finding_tell(sink, FINDING_PROBLEM, "store", "%s", err.message);
        return;
    }
    s = postgres_of(backend);
    examine_way(s, sink);
    before_us = wall_us();
    status = pg_queue_text(s, facts_sql, "look at the server", NULL, &facts, &err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, &err);
    if (status == STATUS_OK && PQntuples(facts) == 1 && PQnfields(facts) == FACT_COUNT) {
        int64_t here_us = before_us + (wall_us() - before_us) / 2;

        examine_server(s, facts, sink);
        examine_rights(s, facts, sink);
        examine_clock(s, pg_get_int(facts, 0, FACT_CLOCK) - here_us, sink);
        examine_partitions(s, facts, sink);
    } else {
        finding_tell(sink, FINDING_PROBLEM, "store", "%s",
                     status != STATUS_OK ? err.message : "the server's answer is no row of facts");
    }
    PQclear(facts);
    store_postgres_ops.close(backend);
}

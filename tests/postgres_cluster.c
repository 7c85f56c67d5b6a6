/* SPDX-License-Identifier: MIT */
#include "tests/postgres_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"

#include "common/banned.h"

#define START_WAIT_TICKS 600
#define TICK_US 50000

static const char settings[] =
    "listen_addresses = ''\n"
    "unix_socket_permissions = 0777\n"
    "max_connections = 120\n"
    "shared_buffers = 32MB\n"
    "fsync = off\n"              /* servers die here, not machines: a write is enough */
    "synchronous_commit = off\n" /* what must be durable has to say so itself */
    "default_transaction_isolation = 'serializable'\n" /* and which isolation it needs */
    "wal_writer_delay = 10s\n"                         /* nor does the disk get it by chance */
    "log_min_messages = warning\n"
    "log_line_prefix = '%m %p %e '\n"
    "autovacuum_naptime = 5s\n";
static const char access_rules[] = "local all with_password scram-sha-256\n"
                                   "local all all trust\n"
                                   "local replication all trust\n";

static void
in_folder(const struct postgres_cluster *c, const char *name, char *out, size_t size)
{
    struct buf path;

    buf_init(&path, out, size);
    buf_add_format(&path, "%s/%s", c->folder, name);
}

/* In the child: as the cluster's user, with standard output and error in a log. */
static void
become(const struct postgres_cluster *c, const char *log_name)
{
    char path[128];
    int log;

    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(c->gid) != 0 || setuid(c->uid) != 0))
        _exit(120);
    in_folder(c, log_name, path, sizeof(path));
    log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || chdir(c->folder) != 0)
        _exit(121);
}

static bool
find_programs(struct postgres_cluster *c)
{
    glob_t found;
    bool there = glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0;

    if (there) { /* the newest */
        there = text_copy(c->bin, sizeof(c->bin), found.gl_pathv[found.gl_pathc - 1]);
        *strrchr(c->bin, '/') = '\0';
    } else
        printf("PostgreSQL: no initdb in /usr/lib/postgresql\n");
    globfree(&found);
    return there;
}

static bool
make_folder(struct postgres_cluster *c)
{
    const struct passwd *user = getpwnam("postgres");

    if (user == NULL)
        user = getpwnam("nobody");
    c->uid = geteuid() == 0 && user != NULL ? user->pw_uid : geteuid();
    c->gid = geteuid() == 0 && user != NULL ? user->pw_gid : getegid();
    (void)!text_copy(c->folder, sizeof(c->folder), "/tmp/spendgate-pg-XXXXXX");
    return mkdtemp(c->folder) != NULL && chmod(c->folder, 0755) == 0 &&
           (geteuid() != 0 || chown(c->folder, c->uid, c->gid) == 0);
}

static void
write_file(const struct postgres_cluster *c, const char *name, const char *text, const char *mode)
{
    char path[128];
    FILE *file;

    in_folder(c, name, path, sizeof(path));
    file = fopen(path, mode);
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

bool
cluster_make(struct postgres_cluster *c)
{
    char program[192], data[128];
    struct buf path;
    int status = -1;
    pid_t pid;

    memset(c, 0, sizeof(*c));
    c->owner = getpid();
    if (!find_programs(c) || !make_folder(c))
        return false;
    buf_init(&path, program, sizeof(program));
    buf_add_format(&path, "%s/initdb", c->bin);
    in_folder(c, "data", data, sizeof(data));
    pid = fork();
    if (pid == 0) {
        become(c, "log");
        execl(program, "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8",
              "--no-locale", "--no-sync", (char *)NULL);
        _exit(122);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        printf("PostgreSQL: initdb ended with %d, see %s/log\n", status, c->folder);
        return false;
    }
    write_file(c, "data/postgresql.conf", settings, "a");
    write_file(c, "data/pg_hba.conf", access_rules, "w");
    return true;
}

static PGconn *
superuser(const struct postgres_cluster *c, const char *database)
{
    char url[256];

    cluster_url(c, database, "", url, sizeof(url));
    return PQconnectdb(url);
}

static bool
answers(const struct postgres_cluster *c)
{
    PGconn *conn = superuser(c, "postgres");
    bool ok = PQstatus(conn) == CONNECTION_OK;

    PQfinish(conn);
    return ok;
}

void
cluster_start(struct postgres_cluster *c)
{
    char program[192], data[128];
    struct buf path;
    pid_t parent = getpid();

    buf_init(&path, program, sizeof(program));
    buf_add_format(&path, "%s/postgres", c->bin);
    in_folder(c, "data", data, sizeof(data));
    fflush(stdout);
    c->server = fork();
    if (c->server == 0) {
        become(c, "log");
        /* Not before the user was changed, which would clear it. */
        if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent)
            _exit(123);
        execl(program, "postgres", "-D", data, "-k", c->folder, (char *)NULL);
        _exit(122);
    }
    for (int i = 0; i < START_WAIT_TICKS; i++) {
        if (answers(c))
            return;
        usleep(TICK_US);
    }
    printf("PostgreSQL: the server does not answer, see %s/log\n", c->folder);
    abort();
}

void
cluster_stop(struct postgres_cluster *c, int signal_number)
{
    int status;

    if (c->server <= 0)
        return;
    kill(c->server, signal_number);
    while (waitpid(c->server, &status, 0) < 0 && errno == EINTR)
        continue;
    c->server = 0;
}

/* Debian 12's does not know prepared statements. */
static const char pooler_settings[] = "[databases]\n"
                                      "* = host=%s\n"
                                      "[pgbouncer]\n"
                                      "listen_addr =\n"
                                      "listen_port = " CLUSTER_POOLER_PORT "\n"
                                      "unix_socket_dir = %s\n"
                                      "auth_type = trust\n"
                                      "auth_file = %s/pooler.users\n"
                                      "pool_mode = transaction\n"
                                      "default_pool_size = 6\n"
                                      "max_client_conn = 200\n"
                                      "log_connections = 0\n"
                                      "log_disconnections = 0\n";

bool
cluster_start_pooler(struct postgres_cluster *c)
{
    static const char program[] = "/usr/sbin/pgbouncer";
    char text[1024], path[128];
    struct buf out;
    pid_t parent = getpid();

    if (access(program, X_OK) != 0) {
        printf("PostgreSQL: no %s\n", program);
        return false;
    }
    buf_init(&out, text, sizeof(text));
    buf_add_format(&out, pooler_settings, c->folder, c->folder, c->folder);
    write_file(c, "pooler.ini", text, "w");
    write_file(c, "pooler.users", "\"postgres\" \"\"\n", "w");
    in_folder(c, "pooler.ini", path, sizeof(path));
    fflush(stdout);
    c->pooler = fork();
    if (c->pooler == 0) {
        become(c, "pooler.log");
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
            _exit(123);
        execl(program, "pgbouncer", "-q", path, (char *)NULL);
        _exit(122);
    }
    for (int i = 0; i < START_WAIT_TICKS; i++) {
        char url[256];
        PGconn *conn;
        bool there;

        cluster_url(c, "postgres", "&port=" CLUSTER_POOLER_PORT, url, sizeof(url));
        conn = PQconnectdb(url);
        there = PQstatus(conn) == CONNECTION_OK;
        PQfinish(conn);
        if (there)
            return true;
        usleep(TICK_US);
    }
    printf("PostgreSQL: PgBouncer does not answer, see %s/pooler.log\n", c->folder);
    return false;
}

static void
stop_pooler(struct postgres_cluster *c)
{
    int status;

    if (c->pooler <= 0)
        return;
    kill(c->pooler, SIGTERM);
    while (waitpid(c->pooler, &status, 0) < 0 && errno == EINTR)
        continue;
    c->pooler = 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void
cluster_remove(struct postgres_cluster *c)
{
    if (c->owner != getpid() || c->folder[0] == '\0')
        return;
    stop_pooler(c);
    cluster_stop(c, SIGQUIT);
    nftw(c->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
cluster_sql(struct postgres_cluster *c, const char *database, const char *sql, char *out,
            size_t size)
{
    PGconn *conn = superuser(c, database);
    PGresult *result = PQexec(conn, sql);
    ExecStatusType got = PQresultStatus(result);

    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK) {
        printf("PostgreSQL: %s: %s", sql, PQerrorMessage(conn));
        abort();
    }
    if (out != NULL)
        (void)!text_copy(out, size, PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
}

void
cluster_database(struct postgres_cluster *c, const char *template, char *name, size_t size)
{
    char sql[128];
    struct buf text;

    buf_init(&text, name, size);
    buf_add_format(&text, "spendgate%d", ++c->databases);
    buf_init(&text, sql, sizeof(sql));
    buf_add_format(&text, "CREATE DATABASE %s TEMPLATE %s", name,
                   template != NULL ? template : "template0");
    cluster_sql(c, "postgres", sql, NULL, 0);
}

void
cluster_url(const struct postgres_cluster *c, const char *database, const char *more, char *out,
            size_t size)
{
    struct buf url;

    buf_init(&url, out, size);
    buf_add_format(&url, "postgresql:///%s?host=%s&user=postgres%s", database, c->folder, more);
    if (buf_failed(&url))
        abort();
}

int
cluster_log_lines(const struct postgres_cluster *c, const char *text)
{
    char path[128], line[4096];
    FILE *file;
    int count = 0;

    in_folder(c, "log", path, sizeof(path));
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        count += strstr(line, text) != NULL;
    if (file != NULL)
        fclose(file);
    return count;
}

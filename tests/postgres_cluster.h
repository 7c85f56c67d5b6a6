/* SPDX-License-Identifier: MIT */
/*
 * A PostgreSQL cluster of the test's own: made in a throwaway folder, reached over a unix socket
 * there, ended with the test however that ends. initdb refuses root: then it belongs to the user
 * postgres, or nobody.
 */
#ifndef SPENDGATE_TESTS_POSTGRES_CLUSTER_H
#define SPENDGATE_TESTS_POSTGRES_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct postgres_cluster {
    char bin[128];   /* Debian's folder of initdb and postgres */
    char folder[64]; /* data, log and socket */
    uid_t uid;
    gid_t gid;
    pid_t server;  /* 0: not running */
    pid_t pooler;  /* the same */
    pid_t owner;   /* only the process that made it ends it */
    int databases; /* made so far */
};

/* false, and a line that says why, when this machine has no PostgreSQL. */
bool cluster_make(struct postgres_cluster *cluster);
/* Start the server and wait until it answers. Aborts when it does not. */
void cluster_start(struct postgres_cluster *cluster);
/* SIGQUIT stops like a crash, SIGINT in order. */
void cluster_stop(struct postgres_cluster *cluster, int signal_number);
#define CLUSTER_POOLER_PORT "6432"
/* Start a PgBouncer in transaction mode before the server, with fewer sessions than a race has
 * processes: "&port=" CLUSTER_POOLER_PORT goes through it. false, and a line that says why, without
 * one. */
bool cluster_start_pooler(struct postgres_cluster *cluster);
/* Stop, and remove the folder. */
void cluster_remove(struct postgres_cluster *cluster);

/* Run SQL in `database` as the superuser; aborts when it fails. The first value of the first row,
 * or "". */
void cluster_sql(struct postgres_cluster *cluster, const char *database, const char *sql, char *out,
                 size_t size);
/* Make a database, empty or as `template` is, to which nobody may be connected; `name` is told. */
void cluster_database(struct postgres_cluster *cluster, const char *template, char *name,
                      size_t size);
/* "postgresql:///NAME?host=FOLDER&user=postgres" and `more`. */
void cluster_url(const struct postgres_cluster *cluster, const char *database, const char *more,
                 char *out, size_t size);
/* How many lines of the server's log hold `text`. */
int cluster_log_lines(const struct postgres_cluster *cluster, const char *text);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * An SQLite VFS that hands the frames of one transaction to the write-ahead log in one write.
 * SQLite writes each page with two calls; a small transaction spends a third of its time there.
 *
 * What reaches the file, and in which order relative to locks and syncs, is as before: the frame
 * that commits is written, with all before it, before SQLite is told that it was; frames of a
 * transaction that did not commit are dropped when its write lock goes, because another process may
 * then own their place.
 */
#ifndef SPENDGATE_SQLITE_VFS_H
#define SPENDGATE_SQLITE_VFS_H

/* The name for sqlite3_open_v2, registered on the first call; NULL: out of memory. Stands in front
 * of the VFS that is the default then. */
const char *sqlite_vfs_name(void);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_STORAGE_NBD_CONN_H
#define THINBD_STORAGE_NBD_CONN_H

/*
 * Inside of the NBD backend: one connection, which many threads use at once
 * and which comes back when it is lost.  nbd.c (the vtable) is above it,
 * nbd_chunks.c and nbd_extents.c (what is answered), nbd_handshake.c
 * (connecting) and nbd_replay.c (what a server must not forget) are beside
 * it.
 */

#include "storage/storage.h"
#include "util/limits.h"
#include "util/lock.h"

#include <sys/queue.h>

struct nbd_handle;

/* A length without data has 32 bits in the protocol. */
#define THIN_NBD_LONGEST (UINT64_C(1) << 30)

/* --- nbd_handshake.c --------------------------------------------------- */

/* What a server told about its export. */
struct thin_nbd_export {
	uint64_t size;	    /* bytes */
	uint32_t min_block; /* bytes; all requests are aligned to it */
	uint32_t max_block; /* bytes; the longest read or write */
	bool readonly, can_flush, can_zero, can_trim, can_multi_conn, can_extents;
	char *name; /* in its own words; NULL where it says nothing; owned */
};

void thin_nbd_export_fini(struct thin_nbd_export *x);

/*
 * Is @now still the export that @was described?  It is not where it shrank,
 * has another name, lost an ability, wants a coarser alignment or to be
 * flushed when it did not; or, being read only by us (@readonly), where its
 * size differs at all.
 * Returns 0; -ESTALE, with @e saying what differs.
 */
THIN_MUST_CHECK int thin_nbd_export_same(const struct thin_nbd_export *was,
					 const struct thin_nbd_export *now, bool readonly,
					 struct thin_error *e);

/*
 * Connect to @uri and agree, until @deadline_ns (of thin_now_ns()).
 * @ret: for nbd_close(); @ret_export: for thin_nbd_export_fini().
 * Returns 0; -EIO, with @e saying why; -ENOMEM.
 */
THIN_MUST_CHECK int thin_nbd_handshake(const char *uri, uint64_t deadline_ns,
				       struct nbd_handle **ret,
				       struct thin_nbd_export *ret_export,
				       struct thin_error *e);

/*
 * Wait until @nbd's socket can go on, or @wake_fd (-1: none) is written to,
 * or @deadline_ns (UINT64_MAX: never) has passed; then let @nbd go on.
 * Returns 0; -ETIMEDOUT; -EIO when the connection broke.
 */
THIN_MUST_CHECK int thin_nbd_poll(struct nbd_handle *nbd, int wake_fd,
				  uint64_t deadline_ns);

/* --- nbd_replay.c ------------------------------------------------------ */

enum thin_nbd_op {
	THIN_NBD_READ,
	THIN_NBD_WRITE,
	THIN_NBD_ZERO,
	THIN_NBD_TRIM,
	THIN_NBD_FLUSH,
	THIN_NBD_STATUS,
};

/* A change that a server made, and may forget until it has been flushed. */
struct thin_nbd_change {
	STAILQ_ENTRY(thin_nbd_change) link;
	uint64_t seq;
	enum thin_nbd_op op;
	uint64_t offset, len;
	uint8_t bytes[]; /* of a write */
};

/* In the order in which they were completed. */
struct thin_nbd_log {
	STAILQ_HEAD(, thin_nbd_change) changes;
	uint64_t last_seq;
	uint64_t bytes;
};

void thin_nbd_log_init(struct thin_nbd_log *log);
void thin_nbd_log_fini(struct thin_nbd_log *log);

/* A copy of a change that is to be made; NULL where there is no memory. */
struct thin_nbd_change *thin_nbd_change_of(enum thin_nbd_op op, uint64_t offset,
					   uint64_t len, const void *bytes);

/* It was made: the log owns it now. */
void thin_nbd_log_add(struct thin_nbd_log *log, struct thin_nbd_change *c);

/* A flush that was asked for after change @seq returned: forget up to it. */
void thin_nbd_log_forget(struct thin_nbd_log *log, uint64_t seq);

/*
 * Make all changes again, in their order, through @nbd, on which nothing is
 * in flight.
 * Returns 0; -ENOTCONN when the connection broke; -EIO when the server
 * refused one, after which its content is unknown.
 */
THIN_MUST_CHECK int thin_nbd_log_replay(const struct thin_nbd_log *log,
					struct nbd_handle *nbd);

/* --- nbd_conn.c -------------------------------------------------------- */

struct thin_nbd_conn;
struct thin_nbd_call;

/* One extent that a server described, from the end of the one before it. */
struct thin_nbd_extent {
	uint64_t len;
	enum thin_extent_type type;
};

struct thin_nbd_status {
	struct thin_nbd_extent extent[THIN_MAX_EXTENTS];
	size_t nr;
};

/* What goes over the wire; @op to @status are the caller's, the rest ours. */
struct thin_nbd_request {
	enum thin_nbd_op op;
	uint64_t offset;
	uint64_t len; /* at most max_block, where there is a @buf */
	void *buf;
	struct thin_nbd_status *status; /* of a THIN_NBD_STATUS */

	TAILQ_ENTRY(thin_nbd_request) link;
	struct thin_nbd_conn *conn;
	struct thin_nbd_call *call;
	struct thin_nbd_change *change; /* to be logged when it is made */
	uint64_t flushes;		/* a flush: the changes up to this one */
	uint64_t filled, sent;		/* a read: bytes, see nbd_chunks.c */
	uint64_t give_up_ns; /* 0: was never lost; else when to stop repeating */
	int result;
};

TAILQ_HEAD(thin_nbd_queue, thin_nbd_request);

struct thin_nbd_conn {
	const char *uri;
	const struct thin_nbd_export *expected; /* of every server that answers */
	bool readonly;
	uint64_t patience_ms;	    /* how long a lost server is waited for */
	int wake_fd;		    /* an eventfd: there is something in incoming */
	struct thin_nbd_conn *next; /* to the same server, in a ring */

	struct thin_mutex lock;
	bool led THIN_GUARDED_BY(lock);
	struct thin_nbd_queue incoming THIN_GUARDED_BY(lock);
	struct thin_nbd_log log THIN_GUARDED_BY(lock);
	_Atomic unsigned load; /* requests under way */

	/* The leader's alone; the lock hands them from one to the next. */
	struct nbd_handle *nbd; /* NULL: not connected */
	bool lost;		/* connected no more, and what it had to do is not done */
	int broken;		/* the server's content is unknown: for ever */
	uint64_t give_up_ns;	/* 0: all is well; else when to stop waiting */
	bool gone;		/* was waited for in vain */
	uint64_t pause_ms;	/* before the next attempt to connect */
	struct thin_nbd_queue todo, inflight, done;
};

/*
 * Make @conn, not connected.  @uri and @expected must outlive it.
 * Returns 0 or -errno.
 */
THIN_MUST_CHECK int thin_nbd_conn_init(struct thin_nbd_conn *conn, const char *uri,
				       const struct thin_nbd_export *expected,
				       bool readonly);

/*
 * Both go to one server, which one of them tells the other's loss.  Before any
 * call; they are to be ended when no call to any of them is under way.
 */
void thin_nbd_conn_join(struct thin_nbd_conn *conn, struct thin_nbd_conn *other);

/* One that was never made, or not successfully, is all zeros: a no-op. */
void thin_nbd_conn_fini(struct thin_nbd_conn *conn);

/* Hand over a handle that is connected and has nothing in flight. */
void thin_nbd_conn_adopt(struct thin_nbd_conn *conn, struct nbd_handle *nbd);

/*
 * Say good-bye, so that the next call connects anew.  To be called when no
 * call is under way.
 */
void thin_nbd_conn_hang_up(struct thin_nbd_conn *conn);

/*
 * Send @nr requests and wait for their answers, all being in flight at
 * once; what was in flight when the server was lost is sent again to the
 * one that comes after it.
 * Returns 0, or the first error that the server gave; -EIO when it was
 * away for too long, or was lost with the same request again and again for
 * that long; -ESTALE when another export stands in its place.
 * Locking: any number of threads may call at once.
 */
THIN_MUST_CHECK int thin_nbd_conn_call(struct thin_nbd_conn *conn,
				       struct thin_nbd_request *req, size_t nr);

/* Bytes that the log holds. */
uint64_t thin_nbd_conn_logged(struct thin_nbd_conn *conn);

/* --- nbd_chunks.c ------------------------------------------------------ */

/* A read is about to be sent, for the first time or again. */
void thin_nbd_chunks_begin(struct thin_nbd_request *req);

/* For nbd_aio_pread_structured(): a piece of the read @user_data is there. */
int thin_nbd_on_chunk(void *user_data, const void *bytes, size_t len, uint64_t offset,
		      unsigned status, int *error);

/* Was all of @req sent, now that the server says so? */
THIN_MUST_CHECK bool thin_nbd_chunks_complete(const struct thin_nbd_request *req);

/* --- nbd_extents.c ----------------------------------------------------- */

/* As thin_storage_extents(), of a server that can tell. */
THIN_MUST_CHECK int thin_nbd_extents(struct thin_nbd_conn *conn, uint64_t offset,
				     uint64_t len, thin_extent_fn *fn, void *ctx);

/* --- nbd.c ------------------------------------------------------------- */

/* How long @s waits for a lost server, instead of THIN_NBD_RECONNECT_MS. */
void thin_nbd_set_patience(struct thin_storage *s, uint64_t ms);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <sys/eventfd.h>

/*
 * One connection, many threads.
 *
 * There is no thread of its own.  Of the threads that wait for answers one
 * leads: it alone touches the libnbd handle, sends what the others put into
 * "incoming" (they wake it through an eventfd) and sleeps in poll().  When
 * its own answers are there it leaves the lead to somebody who still waits.
 * So a thread that is alone does its I/O itself, without a hand-over, and
 * nothing has to be started after a fork.
 *
 *   [C1] Whoever leads holds "led"; the leader's members of the struct are
 *        touched by nobody else, and the log is changed by nobody else (and
 *        under the lock).  The lock is never held across I/O.
 *   [C2] A request is in exactly one of incoming, todo (taken by the
 *        leader), inflight (libnbd has it) and done (answered, its caller
 *        not yet told).
 *   [C3] When the connection is lost, inflight goes back to todo: reads
 *        are repeated, and so are changes, which do the same when done
 *        twice.  Before them, nbd_replay.c makes again what was done but
 *        not flushed.
 *   [C4] A request fails for a lost server only after the handle is closed:
 *        libnbd does not touch its buffer any more.
 *   [C5] A server that is told to end waits for its clients to leave, and
 *        its successor waits for it.  So whoever has lost it takes leave on
 *        all connections to it that nobody is using, again and again, since
 *        those that somebody used do not all hear of it by themselves.
 */

#define NS_PER_MS UINT64_C(1000000)

struct thin_nbd_call {
	struct thin_cond wake;
	size_t left; /* requests without an answer */
	int error;   /* the first one */
};

int thin_nbd_conn_init(struct thin_nbd_conn *conn, const char *uri,
		       const struct thin_nbd_export *expected, bool readonly)
{
	*conn = (struct thin_nbd_conn){
		.uri = uri,
		.expected = expected,
		.readonly = readonly,
		.patience_ms = THIN_NBD_RECONNECT_MS,
		.next = conn,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (conn->wake_fd < 0) {
		conn->uri = NULL; /* not made */
		return -errno;
	}
	thin_mutex_init(&conn->lock);
	thin_nbd_log_init(&conn->log);
	TAILQ_INIT(&conn->incoming);
	TAILQ_INIT(&conn->todo);
	TAILQ_INIT(&conn->inflight);
	TAILQ_INIT(&conn->done);
	return 0;
}

void thin_nbd_conn_fini(struct thin_nbd_conn *conn)
{
	if (!conn->uri)
		return;
	thin_nbd_conn_hang_up(conn);
	assert(TAILQ_EMPTY(&conn->incoming) && TAILQ_EMPTY(&conn->todo));
	thin_nbd_log_fini(&conn->log);
	thin_mutex_fini(&conn->lock);
	(void)close(conn->wake_fd);
}

void thin_nbd_conn_adopt(struct thin_nbd_conn *conn, struct nbd_handle *nbd)
{
	assert(!conn->nbd);
	conn->nbd = nbd;
}

void thin_nbd_conn_join(struct thin_nbd_conn *conn, struct thin_nbd_conn *other)
{
	assert(conn->next == conn);
	conn->next = other->next;
	other->next = conn;
}

void thin_nbd_conn_hang_up(struct thin_nbd_conn *conn)
{
	assert(TAILQ_EMPTY(&conn->inflight));
	if (!conn->nbd)
		return;
	(void)nbd_aio_disconnect(conn->nbd, 0); /* manners only */
	nbd_close(conn->nbd);
	conn->nbd = NULL;
}

uint64_t thin_nbd_conn_logged(struct thin_nbd_conn *conn)
{
	uint64_t bytes;

	thin_mutex_lock(&conn->lock);
	bytes = conn->log.bytes;
	thin_mutex_unlock(&conn->lock);
	return bytes;
}

/* --- answers ----------------------------------------------------------- */

static bool means_lost(int err)
{
	return err == ENOTCONN || err == ESHUTDOWN;
}

/* The server's word for it; anything that is not plainly said is -EIO. */
static int error_of(int err)
{
	switch (err) {
	case 0:
	case ENOSPC:
	case ENOMEM:
	case ENOTSUP:
		return -err;
	default:
		return -EIO;
	}
}

/* Of a request that the server says is done, or has failed. */
static int result_of(const struct thin_nbd_request *req, int err)
{
	if (!err && req->op == THIN_NBD_READ && !thin_nbd_chunks_complete(req))
		return -EIO;
	return error_of(err);
}

static void answer(struct thin_nbd_conn *conn, struct thin_nbd_request *req, int result)
{
	req->result = result;
	TAILQ_INSERT_TAIL(&conn->done, req, link);
}

/* libnbd calls this, in the leader's thread.  Returns 1: nothing to keep. */
static int on_answer(void *user_data, int *error)
{
	struct thin_nbd_request *req = user_data;
	struct thin_nbd_conn *conn = req->conn;

	if (means_lost(*error)) {
		conn->lost = true;
		return 1;
	}
	conn->give_up_ns = 0;
	conn->pause_ms = 0;
	TAILQ_REMOVE(&conn->inflight, req, link);
	answer(conn, req, result_of(req, *error));
	return 1;
}

static void add_extent(struct thin_nbd_status *st, uint64_t len,
		       enum thin_extent_type type)
{
	if (st->nr && st->extent[st->nr - 1].type == type)
		st->extent[st->nr - 1].len += len;
	else
		st->extent[st->nr++] = (struct thin_nbd_extent){len, type};
}

/*
 * Pairs of length and flags, from the request's offset on.  They come from
 * outside: lengths may be anything.  HOLE alone does not promise zeros.
 */
static int on_extents(void *user_data, const char *context, uint64_t offset,
		      uint32_t *entries, size_t nr, int *error)
{
	struct thin_nbd_request *req = user_data;
	struct thin_nbd_status *st = req->status;

	(void)context;
	(void)offset;
	(void)error;
	for (size_t i = 0; i + 1 < nr && st->nr < THIN_MAX_EXTENTS; i += 2)
		if (entries[i])
			add_extent(st, entries[i],
				   entries[i + 1] & LIBNBD_STATE_ZERO ? THIN_EXTENT_ZERO
								      : THIN_EXTENT_DATA);
	return 0;
}

/* --- the leader's work ------------------------------------------------- */

static int64_t send_one(struct nbd_handle *nbd, struct thin_nbd_request *req)
{
	nbd_completion_callback cb = {.callback = on_answer, .user_data = req};
	nbd_extent_callback extents = {.callback = on_extents, .user_data = req};
	nbd_chunk_callback chunks = {.callback = thin_nbd_on_chunk, .user_data = req};

	switch (req->op) {
	case THIN_NBD_READ:
		thin_nbd_chunks_begin(req);
		return nbd_aio_pread_structured(nbd, req->buf, req->len, req->offset,
						chunks, cb, 0);
	case THIN_NBD_WRITE:
		return nbd_aio_pwrite(nbd, req->buf, req->len, req->offset, cb, 0);
	case THIN_NBD_ZERO:
		return nbd_aio_zero(nbd, req->len, req->offset, cb,
				    LIBNBD_CMD_FLAG_NO_HOLE);
	case THIN_NBD_TRIM:
		return nbd_aio_trim(nbd, req->len, req->offset, cb, 0);
	case THIN_NBD_FLUSH:
		return nbd_aio_flush(nbd, cb, 0);
	case THIN_NBD_STATUS:
		req->status->nr = 0; /* of a server before this one */
		return nbd_aio_block_status(nbd, req->len, req->offset, extents, cb, 0);
	}
	assert(false);
	return -1;
}

static bool connected(struct thin_nbd_conn *conn)
{
	return !conn->lost && nbd_aio_is_dead(conn->nbd) <= 0 &&
	       nbd_aio_is_closed(conn->nbd) <= 0;
}

static void send_all(struct thin_nbd_conn *conn)
{
	struct thin_nbd_request *req;

	while ((req = TAILQ_FIRST(&conn->todo)) && connected(conn)) {
		TAILQ_REMOVE(&conn->todo, req, link);
		TAILQ_INSERT_TAIL(&conn->inflight, req, link);
		if (send_one(conn->nbd, req) >= 0 || !connected(conn))
			continue;
		/* libnbd would not have it, and there is no answer to come. */
		TAILQ_REMOVE(&conn->inflight, req, link);
		answer(conn, req, error_of(nbd_get_errno()));
	}
}

static void fail_one(struct thin_nbd_conn *conn, struct thin_nbd_request *req, int error)
{
	assert(!conn->nbd); /* [C4] */
	TAILQ_REMOVE(&conn->todo, req, link);
	answer(conn, req, error);
}

/* Those too who have come meanwhile: nobody is to wait for another attempt. */
static void fail_all(struct thin_nbd_conn *conn, int error)
{
	struct thin_nbd_request *req;

	thin_mutex_lock(&conn->lock);
	TAILQ_CONCAT(&conn->todo, &conn->incoming, link);
	thin_mutex_unlock(&conn->lock);
	while ((req = TAILQ_FIRST(&conn->todo)))
		fail_one(conn, req, error);
}

/* A request that no server survives is not sent for ever, whatever others get. */
static void fail_old(struct thin_nbd_conn *conn, uint64_t now)
{
	struct thin_nbd_request *req, *next;

	for (req = TAILQ_FIRST(&conn->todo); req; req = next) {
		next = TAILQ_NEXT(req, link);
		if (req->give_up_ns && now >= req->give_up_ns)
			fail_one(conn, req, -EIO);
	}
}

static uint64_t patience_ends(const struct thin_nbd_conn *conn, uint64_t now)
{
	return now + conn->patience_ms * NS_PER_MS;
}

/* Only an answer ends the waiting: to be connected is no progress. */
static void begin_to_wait(struct thin_nbd_conn *conn)
{
	if (!conn->give_up_ns)
		conn->give_up_ns = patience_ends(conn, thin_now_ns());
}

/* [C3] */
static void take_back(struct thin_nbd_conn *conn, uint64_t now)
{
	struct thin_nbd_request *req;

	TAILQ_FOREACH(req, &conn->inflight, link)
	{
		if (!req->give_up_ns)
			req->give_up_ns = patience_ends(conn, now);
	}
	TAILQ_CONCAT(&conn->todo, &conn->inflight, link);
}

static void drop(struct thin_nbd_conn *conn)
{
	uint64_t now = thin_now_ns();

	begin_to_wait(conn);
	nbd_close(conn->nbd);
	conn->nbd = NULL;
	conn->lost = false;
	take_back(conn, now);
	if (now >= conn->give_up_ns)
		fail_all(conn, -EIO);
	else
		fail_old(conn, now);
}

static void pass_lead_locked(struct thin_nbd_conn *conn) THIN_REQUIRES(conn->lock)
{
	struct thin_nbd_request *next = TAILQ_FIRST(&conn->inflight);

	conn->led = false;
	if (!next)
		next = TAILQ_FIRST(&conn->todo);
	if (!next)
		next = TAILQ_FIRST(&conn->incoming);
	if (next)
		thin_cond_broadcast(&next->call->wake);
}

static bool is_idle_locked(const struct thin_nbd_conn *conn) THIN_REQUIRES(conn->lock)
{
	return !conn->led && TAILQ_EMPTY(&conn->incoming) && TAILQ_EMPTY(&conn->todo) &&
	       TAILQ_EMPTY(&conn->inflight);
}

/* [C1]: as its leader, for a moment. */
static void hang_up_if_idle(struct thin_nbd_conn *conn)
{
	thin_mutex_lock(&conn->lock);
	if (is_idle_locked(conn)) {
		conn->led = true;
		thin_mutex_unlock(&conn->lock);
		thin_nbd_conn_hang_up(conn);
		thin_mutex_lock(&conn->lock);
		pass_lead_locked(conn);
	}
	thin_mutex_unlock(&conn->lock);
}

/* [C5] */
static void take_leave(struct thin_nbd_conn *conn)
{
	for (struct thin_nbd_conn *c = conn->next; c != conn; c = c->next)
		hang_up_if_idle(c);
}

/* An attempt that begins while we wait does not make it much longer. */
static uint64_t attempt_ends(const struct thin_nbd_conn *conn)
{
	uint64_t now = thin_now_ns(), longest = now + THIN_NBD_CONNECT_MS * NS_PER_MS;
	uint64_t shortest = now + THIN_NBD_CONNECT_MIN_MS * NS_PER_MS;

	return now < conn->give_up_ns
		       ? thin_min(longest, thin_max(shortest, conn->give_up_ns))
		       : longest;
}

/* Once.  Returns 0; -ESTALE; -EIO, for ever where "broken" is set. */
static int reconnect_once(struct thin_nbd_conn *conn)
{
	uint64_t deadline = attempt_ends(conn);
	struct thin_nbd_export x = {0};
	struct nbd_handle *nbd;
	int r = thin_nbd_handshake(conn->uri, deadline, &nbd, &x, NULL);

	if (r)
		return -EIO;
	r = thin_nbd_export_same(conn->expected, &x, conn->readonly, NULL);
	thin_nbd_export_fini(&x);
	if (!r)
		r = thin_nbd_log_replay(&conn->log, nbd);
	if (r) {
		nbd_close(nbd);
		if (r == -EIO)
			conn->broken = r;
		return r == -ESTALE ? r : -EIO;
	}
	conn->nbd = nbd;
	return 0;
}

/* At once the first time, then after longer and longer pauses. */
static void pause_before_attempt(struct thin_nbd_conn *conn)
{
	uint64_t now = thin_now_ns(), left = 0;

	if (conn->give_up_ns > now)
		left = thin_div_up(conn->give_up_ns - now, NS_PER_MS);
	(void)poll(NULL, 0, (int)thin_min(conn->pause_ms, left));
	conn->pause_ms = conn->pause_ms
				 ? thin_min(2 * conn->pause_ms, THIN_NBD_PAUSE_MAX_MS)
				 : THIN_NBD_PAUSE_MIN_MS;
}

/* One that was gone for too long and is back may be lost once more. */
static int reconnect(struct thin_nbd_conn *conn)
{
	int r = -EIO;

	begin_to_wait(conn);
	while (!conn->broken) {
		pause_before_attempt(conn);
		take_leave(conn);
		r = reconnect_once(conn);
		if (!r || r == -ESTALE || thin_now_ns() >= conn->give_up_ns)
			break;
	}
	if (!r && conn->gone) {
		conn->give_up_ns = 0;
		begin_to_wait(conn);
	}
	conn->gone = r;
	return conn->broken ? conn->broken : r;
}

/* Go one step on with what is in todo and inflight. */
static void step(struct thin_nbd_conn *conn)
{
	int r = conn->nbd ? 0 : reconnect(conn);

	if (r) {
		fail_all(conn, r);
		return;
	}
	send_all(conn);
	/* What is answered already is handed out first. */
	if (connected(conn) && TAILQ_EMPTY(&conn->done) &&
	    thin_nbd_poll(conn->nbd, conn->wake_fd, UINT64_MAX))
		conn->lost = true;
	if (!connected(conn))
		drop(conn);
}

static void log_locked(struct thin_nbd_conn *conn, struct thin_nbd_request *req)
	THIN_REQUIRES(conn->lock)
{
	if (req->change && !req->result)
		thin_nbd_log_add(&conn->log, req->change);
	else
		free(req->change);
	req->change = NULL;
	if (req->op == THIN_NBD_FLUSH && !req->result)
		thin_nbd_log_forget(&conn->log, req->flushes);
}

static void hand_out_locked(struct thin_nbd_conn *conn) THIN_REQUIRES(conn->lock)
{
	struct thin_nbd_request *req;

	while ((req = TAILQ_FIRST(&conn->done))) {
		struct thin_nbd_call *call = req->call;

		TAILQ_REMOVE(&conn->done, req, link);
		log_locked(conn, req);
		if (!call->error)
			call->error = req->result;
		if (!--call->left)
			thin_cond_broadcast(&call->wake);
	}
}

/* Lead until @call has all its answers. */
static void lead_locked(struct thin_nbd_conn *conn, struct thin_nbd_call *call)
	THIN_REQUIRES(conn->lock)
{
	assert(!conn->led); /* [C1] */
	conn->led = true;
	while (call->left) {
		TAILQ_CONCAT(&conn->todo, &conn->incoming, link);
		thin_mutex_unlock(&conn->lock);
		step(conn);
		thin_mutex_lock(&conn->lock);
		hand_out_locked(conn);
	}
	pass_lead_locked(conn);
}

static void queue_locked(struct thin_nbd_conn *conn, struct thin_nbd_call *call,
			 struct thin_nbd_request *req, size_t nr)
	THIN_REQUIRES(conn->lock)
{
	for (size_t i = 0; i < nr; i++) {
		req[i].conn = conn;
		req[i].call = call;
		req[i].flushes = conn->log.last_seq;
		TAILQ_INSERT_TAIL(&conn->incoming, &req[i], link);
	}
	if (conn->led)
		(void)eventfd_write(conn->wake_fd, 1);
}

/* Copies for the log, where there is something to be kept. */
static int keep_changes(struct thin_nbd_conn *conn, struct thin_nbd_request *req,
			size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		req[i].change = NULL;
		if (!conn->expected->can_flush ||
		    (req[i].op != THIN_NBD_WRITE && req[i].op != THIN_NBD_ZERO &&
		     req[i].op != THIN_NBD_TRIM))
			continue;
		req[i].change = thin_nbd_change_of(req[i].op, req[i].offset, req[i].len,
						   req[i].buf);
		if (req[i].change)
			continue;
		while (i--)
			free(req[i].change);
		return -ENOMEM;
	}
	return 0;
}

int thin_nbd_conn_call(struct thin_nbd_conn *conn, struct thin_nbd_request *req,
		       size_t nr)
{
	struct thin_nbd_call call = {.left = nr};
	int r = keep_changes(conn, req, nr);

	if (r)
		return r;
	thin_cond_init(&call.wake);
	atomic_fetch_add(&conn->load, (unsigned)nr);
	thin_mutex_lock(&conn->lock);
	queue_locked(conn, &call, req, nr);
	while (call.left) {
		if (conn->led)
			thin_cond_wait(&call.wake, &conn->lock);
		else
			lead_locked(conn, &call);
	}
	thin_mutex_unlock(&conn->lock);
	atomic_fetch_sub(&conn->load, (unsigned)nr);
	thin_cond_fini(&call.wake);
	return call.error;
}

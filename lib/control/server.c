/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of peers has a fixed size: a slot is taken by the accepting
 * thread, which is the only one to start and to join the slots' threads.  A
 * peer's thread says `done` when it is through; its slot is joined, and its
 * descriptor closed, within a second, or when the next connection comes: also
 * where this is one that there is no descriptor for.
 *
 * Stopping: `stop` is set, an eventfd wakes the accepting thread, and every
 * socket is shut down, which ends its thread's reads and writes.  A peer's
 * descriptor is closed only after its thread was joined, so that shutdown()
 * never hits a stranger's descriptor.
 */
#include "control/server.h"

#include "control/address.h"
#include "control/peer.h"
#include "util/cleanup.h"
#include "util/limits.h"
#include "util/lock.h"
#include "util/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often to look who has gone. */
#define CLEAR_AWAY_MS 1000

struct slot {
	struct thin_peer peer;
	pthread_t thread;
	bool used;
};

struct thin_server {
	struct thin_control_address address;
	int fd;	  /* listening */
	int wake; /* eventfd: stop */
	bool started;
	pthread_t acceptor;
	thin_control_handler *handler;
	void *ctx;
	struct thin_mutex lock;
	bool stop THIN_GUARDED_BY(lock);
	struct slot slots[THIN_MAX_CONTROL_PEERS] THIN_GUARDED_BY(lock);
};

/* Remove a socket that nobody listens to. */
static int remove_stale(struct thin_server *s, const char *dir, struct thin_error *e)
{
	_cleanup_close int fd = -1;
	int r = thin_control_connect(&s->address, &fd);

	if (!r)
		return thin_error_set(
			e, -EBUSY,
			"%s/" THIN_CONTROL_SOCKET ": another server answers there", dir);
	if (unlinkat(s->address.dir, THIN_CONTROL_SOCKET, 0) < 0 && errno != ENOENT)
		return thin_error_set(e, -errno,
				      "%s/" THIN_CONTROL_SOCKET ": can not remove it: %s",
				      dir, thin_strerror(errno));
	return 0;
}

/* Nobody can connect before listen(), so the mode is set in time. */
static int bind_and_listen(struct thin_server *s)
{
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	if (bind(s->fd, (struct sockaddr *)&s->address.un, sizeof(s->address.un)) < 0)
		return -errno;
	if (chmod(s->address.un.sun_path, 0600) < 0)
		return -errno;
	return listen(s->fd, THIN_MAX_CONTROL_PEERS) < 0 ? -errno : 0;
}

int thin_server_open(const char *dir, thin_control_handler *handler, void *ctx,
		     struct thin_server **ret, struct thin_error *e)
{
	struct thin_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return thin_error_set(e, -ENOMEM, "%s: %s", dir, thin_strerror(ENOMEM));
	s->fd = s->address.dir = -1;
	s->handler = handler;
	s->ctx = ctx;
	thin_mutex_init(&s->lock);
	s->wake = eventfd(0, EFD_CLOEXEC);
	r = s->wake < 0 ? -errno : thin_control_address_init(&s->address, dir);
	if (!r)
		r = remove_stale(s, dir, e);
	if (!r)
		r = bind_and_listen(s);
	if (r) {
		thin_server_close(s);
		return thin_error_default(e, r, "%s/" THIN_CONTROL_SOCKET ": %s", dir,
					  thin_strerror(r));
	}
	*ret = s;
	return 0;
}

/* --- accepting ----------------------------------------------------------- */

static void end_slot(struct slot *slot)
{
	(void)pthread_join(slot->thread, NULL);
	thin_peer_fini(&slot->peer);
	slot->used = false;
}

/* Those whose threads are through.  Returns whether there are others. */
static bool clear_away(struct thin_server *s)
{
	bool busy = false;

	thin_mutex_lock(&s->lock);
	for (size_t i = 0; i < THIN_MAX_CONTROL_PEERS; i++) {
		struct slot *slot = &s->slots[i];
		if (slot->used && thin_peer_done(&slot->peer))
			end_slot(slot);
		busy |= slot->used;
	}
	thin_mutex_unlock(&s->lock);
	return busy;
}

/* NULL when all are busy. */
static struct slot *free_slot(struct thin_server *s) THIN_REQUIRES(s->lock)
{
	for (size_t i = 0; i < THIN_MAX_CONTROL_PEERS; i++)
		if (!s->slots[i].used)
			return &s->slots[i];
	return NULL;
}

static void take_in(struct thin_server *s, int fd)
{
	thin_mutex_lock(&s->lock);
	bool stop = s->stop;
	struct slot *slot = stop ? NULL : free_slot(s);
	if (!slot) {
		thin_mutex_unlock(&s->lock);
		thin_peer_refuse(fd, EBUSY,
				 stop ? "it is ending"
				      : "too many connections to the control socket");
		return;
	}
	thin_peer_init(&slot->peer, fd, s->handler, s->ctx);
	slot->used = !thin_thread_start(&slot->thread, "thin-peer", thin_peer_run,
					&slot->peer);
	if (!slot->used)
		thin_peer_fini(&slot->peer);
	thin_mutex_unlock(&s->lock);
}

static void *accept_all(void *arg)
{
	struct thin_server *s = arg;
	struct pollfd p[] = {
		{.fd = s->fd, .events = POLLIN},
		{.fd = s->wake, .events = POLLIN},
	};

	while (!p[1].revents) {
		int r = poll(p, 2, clear_away(s) ? CLEAR_AWAY_MS : -1);
		if (r <= 0 || !p[0].revents)
			continue;
		(void)clear_away(s);
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			take_in(s, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			(void)poll(&p[1], 1, 100); /* not a busy loop */
	}
	return NULL;
}

int thin_server_start(struct thin_server *s)
{
	int r = thin_thread_start(&s->acceptor, "thin-control", accept_all, s);

	s->started = r == 0;
	return r;
}

/* --- the end ------------------------------------------------------------- */

static void stop_threads(struct thin_server *s) THIN_NO_THREAD_SAFETY
{
	uint64_t one = 1;

	thin_mutex_lock(&s->lock);
	s->stop = true;
	for (size_t i = 0; i < THIN_MAX_CONTROL_PEERS; i++)
		if (s->slots[i].used)
			thin_peer_hang_up(&s->slots[i].peer);
	thin_mutex_unlock(&s->lock);
	if (write(s->wake, &one, sizeof(one)) == sizeof(one))
		(void)pthread_join(s->acceptor, NULL);
	/* Nobody else is left who would touch the slots. */
	for (size_t i = 0; i < THIN_MAX_CONTROL_PEERS; i++)
		if (s->slots[i].used)
			end_slot(&s->slots[i]);
}

void thin_server_close(struct thin_server *s)
{
	if (!s)
		return;
	if (s->started)
		stop_threads(s);
	if (s->fd >= 0) {
		(void)unlinkat(s->address.dir, THIN_CONTROL_SOCKET, 0);
		(void)close(s->fd);
	}
	if (s->wake >= 0)
		(void)close(s->wake);
	thin_control_address_fini(&s->address);
	thin_mutex_fini(&s->lock);
	free(s);
}

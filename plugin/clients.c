/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who enters says so first and looks whether it is the end then; who ends it
 * says so first and looks who is in then.  One of them sees the other.
 *
 * Clients come and go in the lobby only, so once that is closed and empty
 * the list stands still.  They stay allocated then: their connections'
 * threads may still call, to be told that it is the end.
 */
#include "clients.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct client {
	struct thinbd_volume *v;
	atomic_uint in; /* calls that are running */
	struct client *next, **link;
};

static struct client lobby;
struct client *const client_lobby = &lobby;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct client *clients; /* under the lock */
static atomic_bool ending;

struct client *client_new(struct thinbd_volume *v)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->v = v;
	pthread_mutex_lock(&lock);
	c->next = clients;
	c->link = &clients;
	if (clients)
		clients->link = &c->next;
	clients = c;
	pthread_mutex_unlock(&lock);
	return c;
}

void client_free(struct client *c)
{
	if (!c || !client_enter(client_lobby))
		return;
	pthread_mutex_lock(&lock);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	pthread_mutex_unlock(&lock);
	thinbd_volume_close(c->v);
	free(c);
	client_leave(client_lobby);
}

bool client_enter(struct client *c)
{
	atomic_fetch_add(&c->in, 1);
	if (!atomic_load(&ending))
		return true;
	client_leave(c);
	return false;
}

void client_leave(struct client *c)
{
	atomic_fetch_sub(&c->in, 1);
}

struct thinbd_volume *client_volume(const struct client *c)
{
	return c->v;
}

/* --- the end ------------------------------------------------------------- */

/* It happens once, so there is no need to be woken. */
static bool wait_for(struct client *c, unsigned *milliseconds)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	while (atomic_load(&c->in) && *milliseconds) {
		nanosleep(&nap, NULL);
		--*milliseconds;
	}
	return !atomic_load(&c->in);
}

bool clients_end(unsigned seconds)
{
	unsigned milliseconds = 1000 * seconds;

	atomic_store(&ending, true);
	bool empty = wait_for(&lobby, &milliseconds);
	for (struct client *c = clients; c && empty; c = c->next)
		empty = wait_for(c, &milliseconds);
	for (struct client *c = clients; c && empty; c = c->next) {
		thinbd_volume_close(c->v);
		c->v = NULL;
	}
	return empty;
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "undurable.h"

#include <stdlib.h>

static void add(struct undurable *u, struct undurable_write w)
{
	if (u->nr == u->room) {
		u->room = u->room ? 2 * u->room : 64;
		u->writes = must_grow(u->writes, u->room, sizeof(*u->writes));
	}
	u->writes[u->nr++] = w;
}

void undurable_add(struct undurable *u, const struct rec_entry *e)
{
	bool resize = e->op == REC_RESIZE;

	add(u, (struct undurable_write){
		       .op = e->op,
		       .file = e->file,
		       .submit = e->submit,
		       .first = resize ? 0 : rec_first_sector(e),
		       .end = resize ? 0 : rec_end_sector(e),
		       .size = resize ? e->len : 0,
	       });
}

/* By sectors, so that each can be overcome for itself. */
static void fail(struct undurable *u, size_t i)
{
	struct undurable_write w = u->writes[i];

	u->writes[i].failed = w.failed = true;
	if (w.first == w.end)
		return;
	u->writes[i].end = w.first + 1;
	for (uint64_t s = w.first + 1; s < w.end; s++) {
		w.first = s;
		w.end = s + 1;
		add(u, w);
	}
}

void undurable_complete(struct undurable *u, const struct rec_entry *e)
{
	for (size_t i = u->nr; i-- > 0;) {
		if (u->writes[i].submit == e->submit) {
			u->writes[i].complete = e->complete;
			if (e->result)
				fail(u, i);
			return;
		}
	}
}

/* What failed is overcome by what came later and is durable. */
static void overcome(struct undurable *u, const struct undurable_write *by)
{
	for (size_t i = 0; i < u->nr; i++) {
		struct undurable_write *w = &u->writes[i];

		if (w->failed && w->submit < by->submit && w->first >= by->first &&
		    w->end <= by->end && w->op != REC_RESIZE)
			w->failed = false;
	}
}

void undurable_flush(struct undurable *u, uint64_t stamp,
		     void (*fn)(void *ctx, const struct undurable_write *w), void *ctx)
{
	size_t kept = 0;

	for (size_t i = 0; i < u->nr; i++)
		if (!u->writes[i].failed && u->writes[i].complete &&
		    u->writes[i].complete < stamp)
			overcome(u, &u->writes[i]);
	for (size_t i = 0; i < u->nr; i++) {
		struct undurable_write *w = &u->writes[i];

		if (w->complete && w->complete < stamp && !w->failed)
			fn(ctx, w);
		else
			u->writes[kept++] = *w;
	}
	u->nr = kept;
}

void undurable_fini(struct undurable *u)
{
	free(u->writes);
	*u = (struct undurable){0};
}

static bool touches(const struct undurable_write *w, uint64_t first, uint64_t end)
{
	return w->first < end && w->end > first;
}

bool undurable_touches(const struct undurable *u, uint64_t first, uint64_t end)
{
	for (size_t i = 0; i < u->nr; i++)
		if (touches(&u->writes[i], first, end) && !u->writes[i].failed)
			return true;
	return false;
}

bool undurable_under_way(const struct undurable *u, uint64_t first, uint64_t end)
{
	for (size_t i = 0; i < u->nr; i++)
		if (touches(&u->writes[i], first, end) && !u->writes[i].complete)
			return true;
	return false;
}

bool undurable_completed(const struct undurable *u, uint64_t first, uint64_t end,
			 uint64_t stamp)
{
	for (size_t i = 0; i < u->nr; i++)
		if (touches(&u->writes[i], first, end) && u->writes[i].complete &&
		    !u->writes[i].failed && u->writes[i].complete < stamp)
			return true;
	return false;
}

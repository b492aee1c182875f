/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/dump.h"

#include "audit/audit.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An item's text; once a line is in, there is room for one more. */
#define PART	 (UINT64_C(64) << 10)
#define LINE_MAX 512

struct out {
	struct thin_items *items;
	const char *first; /* what goes before the next device or run, in JSON */
	size_t len;
	char text[PART + LINE_MAX];
};

static int hand_over(struct out *o)
{
	struct json_object *part;

	if (!o->len)
		return 0;
	part = json_object_new_string_len(o->text, (int)o->len);
	o->len = 0;
	return thin_items_add_object(o->items, part);
}

static int put(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int put(struct out *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(o->text + o->len, LINE_MAX, fmt, ap);
	va_end(ap);
	assert(n >= 0 && n < LINE_MAX);
	o->len += (size_t)n;
	return o->len < PART ? 0 : hand_over(o);
}

/* --- XML ----------------------------------------------------------------- */

/* thin_dump has never filled in the uuid. */
static int xml_pool(void *ctx, const struct thin_walk_pool *p)
{
	return put(ctx,
		   "<superblock uuid=\"\" time=\"%u\" transaction=\"%" PRIu64
		   "\" flags=\"%u\" version=\"%u\" data_block_size=\"%u\" "
		   "nr_data_blocks=\"%" PRIu64 "\">\n",
		   p->time, p->transaction_id, p->flags, p->version, p->block_sectors,
		   p->nr_data_blocks);
}

static int xml_device(void *ctx, const struct thin_walk_device *d)
{
	return put(ctx,
		   "  <device dev_id=\"%" PRIu64 "\" mapped_blocks=\"%" PRIu64
		   "\" transaction=\"%" PRIu64
		   "\" creation_time=\"%u\" snap_time=\"%u\">\n",
		   d->id, d->mapped_blocks, d->transaction_id, d->creation_time,
		   d->snapshotted_time);
}

static int xml_run(void *ctx, const struct thin_walk_run *r)
{
	if (r->length == 1)
		return put(ctx,
			   "    <single_mapping origin_block=\"%" PRIu64
			   "\" data_block=\"%" PRIu64 "\" time=\"%u\"/>\n",
			   r->vblock, r->dblock, r->time);
	return put(ctx,
		   "    <range_mapping origin_begin=\"%" PRIu64 "\" data_begin=\"%" PRIu64
		   "\" length=\"%" PRIu64 "\" time=\"%u\"/>\n",
		   r->vblock, r->dblock, r->length, r->time);
}

static int xml_device_end(void *ctx, const struct thin_walk_device *d)
{
	(void)d;
	return put(ctx, "  </device>\n");
}

/* --- JSON ---------------------------------------------------------------- */

static int json_pool(void *ctx, const struct thin_walk_pool *p)
{
	struct out *o = ctx;

	o->first = "";
	return put(o,
		   "{\"superblock\": {\"time\": %u, \"transaction\": %" PRIu64
		   ", \"flags\": %u, \"version\": %u, \"data_block_size\": %u, "
		   "\"nr_data_blocks\": %" PRIu64 "},\n \"devices\": [",
		   p->time, p->transaction_id, p->flags, p->version, p->block_sectors,
		   p->nr_data_blocks);
}

static int json_device(void *ctx, const struct thin_walk_device *d)
{
	struct out *o = ctx;
	int r = put(o,
		    "%s\n  {\"dev_id\": %" PRIu64 ", \"mapped_blocks\": %" PRIu64
		    ", \"transaction\": %" PRIu64
		    ", \"creation_time\": %u, \"snap_time\": %u,\n   \"mappings\": [",
		    o->first, d->id, d->mapped_blocks, d->transaction_id,
		    d->creation_time, d->snapshotted_time);

	o->first = "";
	return r;
}

static int json_run(void *ctx, const struct thin_walk_run *m)
{
	struct out *o = ctx;
	int r = put(o,
		    "%s\n    {\"origin_begin\": %" PRIu64 ", \"data_begin\": %" PRIu64
		    ", \"length\": %" PRIu64 ", \"time\": %u}",
		    o->first, m->vblock, m->dblock, m->length, m->time);

	o->first = ",";
	return r;
}

static int json_device_end(void *ctx, const struct thin_walk_device *d)
{
	struct out *o = ctx;

	(void)d;
	o->first = ",";
	return put(o, "]}");
}

/* --- the walk ------------------------------------------------------------ */

static const struct {
	struct thin_walk_fns fns;
	const char *end;
} formats[] = {
	[THIN_DUMP_THIN] =
		{
			.fns = {xml_pool, xml_device, xml_run, xml_device_end},
			.end = "</superblock>\n",
		},
	[THIN_DUMP_JSON] =
		{
			.fns = {json_pool, json_device, json_run, json_device_end},
			.end = "]}\n",
		},
};

int thin_dump(struct thin_storage *metadata, bool held, enum thin_dump_format format,
	      struct thin_items *items, struct thin_error *e)
{
	struct thin_walk_params params = {.held = held, .device = THIN_AUDIT_NO_DEVICE};
	_cleanup_free struct out *o = malloc(sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->items = items;
	o->len = 0;
	int r = thin_audit_walk(metadata, &params, &formats[format].fns, o, e);
	if (!r)
		r = put(o, "%s", formats[format].end);
	return r ? r : hand_over(o);
}

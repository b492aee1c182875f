/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/losses.h"

#include "util/checked.h"
#include "util/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Those that are told one by one; the rest is only counted. */
#define MAX_TOLD 1000

int thin_losses_init(struct thin_losses *l, struct thin_registry *registry,
		     uint64_t block_size)
{
	*l = (struct thin_losses){
		.registry = registry,
		.block_size = block_size,
		.losses = json_object_new_array(),
		.remarks = json_object_new_array(),
	};
	if (l->losses && l->remarks)
		return 0;
	thin_losses_fini(l);
	return -ENOMEM;
}

void thin_losses_fini(struct thin_losses *l)
{
	json_object_put(l->losses);
	json_object_put(l->remarks);
	l->losses = l->remarks = NULL;
}

static void add(struct json_object *array, struct json_object *o)
{
	if (json_object_array_length(array) < MAX_TOLD)
		(void)json_object_array_add(array, o);
	else
		json_object_put(o);
}

static const struct thin_volume_conf *volume_of(const struct thin_losses *l,
						uint64_t device)
{
	const struct thin_volume_conf *conf = NULL;

	if (!l->registry || device > THIN_MAX_DEVICE_ID ||
	    thin_registry_find_device(l->registry, (uint32_t)device, &conf))
		return NULL;
	return conf;
}

/* --- ranges ---------------------------------------------------------------- */

static struct json_object *loss_json(uint64_t device, const struct thin_volume_conf *conf,
				     uint64_t offset, uint64_t end)
{
	const char *reads_as = conf && conf->origin ? "origin" : "zeros";
	struct json_object *o = json_object_new_object();
	char who[THIN_NAME_MAX + 32], text[512];

	if (conf)
		snprintf(who, sizeof(who), "volume %s", conf->name);
	else
		snprintf(who, sizeof(who), "device %" PRIu64, device);
	snprintf(text, sizeof(text),
		 "%s: what was written to bytes %" PRIu64 "..%" PRIu64
		 " is lost: they read as %s",
		 who, offset, end - 1,
		 conf && conf->origin ? "the origin does" : "zeros");
	thin_json_add(o, "volume", thin_json_string(conf ? conf->name : NULL));
	thin_json_add(o, "device", thin_json_number(device));
	thin_json_add(o, "offset", thin_json_number(offset));
	thin_json_add(o, "length", thin_json_number(end - offset));
	thin_json_add(o, "reads_as", thin_json_string(reads_as));
	thin_json_add(o, "message", thin_json_string(text));
	return o;
}

int thin_losses_lost(void *ctx, uint64_t device, uint64_t first, uint64_t last)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	struct thin_losses *l = ctx;
	uint64_t offset, end;

	conf = volume_of(l, device);
	uint64_t size = conf ? conf->size : THIN_MAX_VOLUME_SIZE;
	if (!thin_mul_ok(first, l->block_size, &offset) || offset >= size)
		return 0; /* nobody could read it */
	if (!thin_add_ok(last, 1, &end) || !thin_mul_ok(end, l->block_size, &end) ||
	    end > size)
		end = size;
	l->nr++;
	add(l->losses, loss_json(device, conf, offset, end));
	return 0;
}

/* --- lines ----------------------------------------------------------------- */

static void add_remark(struct thin_losses *l, const char *name, const char *text)
{
	struct json_object *o = json_object_new_object();

	thin_json_add(o, "volume", thin_json_string(name));
	thin_json_add(o, "message", thin_json_string(text));
	add(l->remarks, o);
}

int thin_losses_remark(void *ctx, uint64_t device, const char *text)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	struct thin_losses *l = ctx;

	conf = volume_of(l, device);
	if (conf)
		thin_losses_note(l, conf->name, "volume %s: %s", conf->name, text);
	else if (device != UINT64_MAX)
		thin_losses_note(l, NULL, "device %" PRIu64 ": %s", device, text);
	else
		add_remark(l, NULL, text);
	return 0;
}

void thin_losses_note(struct thin_losses *l, const char *name, const char *fmt, ...)
{
	char text[2 * THIN_ERROR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add_remark(l, name, text);
}

void thin_losses_json(const struct thin_losses *l, struct json_object *o)
{
	thin_json_add(o, "losses", json_object_get(l->losses));
	thin_json_add(o, "remarks", json_object_get(l->remarks));
}

/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/json.h"
#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

struct json_object *thin_time_json(int64_t seconds)
{
	char text[40];
	time_t when = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&when, &tm) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return NULL;
	return json_object_new_string(text);
}

/* What the metadata knows of a device; zeros where it has none. */
static void facts(struct thinbd *t, uint32_t device, uint64_t *ret_mapped,
		  uint64_t *ret_exclusive)
{
	struct thin_device_info info;
	uint64_t blocks;

	*ret_mapped = *ret_exclusive = 0;
	if (device == THIN_NO_DEVICE || thin_pool_next_device(t->pool, device, &info) ||
	    info.id != device)
		return;
	*ret_mapped = info.mapped_blocks * t->block_size;
	if (!thin_pool_exclusive(t->pool, device, &blocks))
		*ret_exclusive = blocks * t->block_size;
}

struct json_object *thin_volume_json(struct thinbd *t,
				     const struct thin_volume_conf *conf)
{
	struct json_object *o = json_object_new_object();
	bool known = conf->device != THIN_NO_DEVICE;
	uint64_t mapped, exclusive;

	facts(t, conf->device, &mapped, &exclusive);
	thin_json_add(o, "name", thin_json_string(conf->name));
	thin_json_add(o, "device", known ? thin_json_number(conf->device) : NULL);
	thin_json_add(o, "size", known ? thin_json_number(conf->size) : NULL);
	thin_json_add(o, "mapped_bytes", thin_json_number(mapped));
	thin_json_add(o, "exclusive_bytes", thin_json_number(exclusive));
	thin_json_add(o, "origin", thin_json_string(conf->origin));
	thin_json_add(o, "parent", thin_json_string(conf->parent));
	thin_json_add(o, "readonly", json_object_new_boolean(conf->readonly));
	thin_json_add(o, "created", thin_time_json(conf->created));
	thin_json_add(o, "clients",
		      thin_json_number(known ? thin_clients_of(t, conf->device) : 0));
	thin_json_add(o, "description",
		      thin_json_string(conf->description ? conf->description : ""));
	return o;
}

struct json_object *thin_unnamed_json(struct thinbd *t,
				      const struct thin_device_info *info)
{
	struct json_object *o = json_object_new_object();
	uint64_t mapped, exclusive;
	char name[20];

	snprintf(name, sizeof(name), "#%u", info->id);
	facts(t, info->id, &mapped, &exclusive);
	thin_json_add(o, "name", thin_json_string(name));
	thin_json_add(o, "device", thin_json_number(info->id));
	thin_json_add(o, "size", NULL);
	thin_json_add(o, "mapped_bytes", thin_json_number(mapped));
	thin_json_add(o, "exclusive_bytes", thin_json_number(exclusive));
	thin_json_add(o, "origin", NULL);
	thin_json_add(o, "parent", NULL);
	thin_json_add(o, "readonly", json_object_new_boolean(false));
	thin_json_add(o, "created", NULL);
	thin_json_add(o, "clients", thin_json_number(0));
	thin_json_add(o, "description", thin_json_string(""));
	return o;
}

struct json_object *thin_named_json(struct thinbd *t, const char *name)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;

	if (thin_registry_find(t->registry, name, &conf, NULL))
		return NULL;
	return thin_volume_json(t, conf);
}

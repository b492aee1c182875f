/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/json.h"
#include "service/service.h"

#include <inttypes.h>
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

struct facts {
	uint64_t mapped, exclusive; /* bytes */
};

/* What the metadata knows of a device; zeros where it has none. */
static struct facts facts_of(struct thinbd *t, uint32_t device)
{
	struct thin_device_info info = {0};
	uint64_t exclusive = 0;

	if (device == THIN_NO_DEVICE ||
	    thin_pool_usage(t->pool, device, &info, &exclusive))
		return (struct facts){0};
	return (struct facts){info.mapped_blocks * t->block_size,
			      exclusive * t->block_size};
}

/* @known: has it a device, and so a size? */
static struct json_object *volume_json(struct thinbd *t, const struct thin_volume_conf *v,
				       bool known, struct json_object *created,
				       unsigned clients)
{
	struct json_object *o = json_object_new_object();
	struct facts facts = facts_of(t, v->device);

	thin_json_add(o, "name", thin_json_string(v->name));
	thin_json_add(o, "device",
		      v->device == THIN_NO_DEVICE ? NULL : thin_json_number(v->device));
	thin_json_add(o, "size", known ? thin_json_number(v->size) : NULL);
	thin_json_add(o, "mapped_bytes", thin_json_number(facts.mapped));
	thin_json_add(o, "exclusive_bytes", thin_json_number(facts.exclusive));
	thin_json_add(o, "origin", thin_json_string(v->origin));
	thin_json_add(o, "parent", thin_json_string(v->parent));
	thin_json_add(o, "readonly", json_object_new_boolean(v->readonly));
	thin_json_add(o, "created", created);
	thin_json_add(o, "clients", thin_json_number(clients));
	thin_json_add(o, "description",
		      thin_json_string(v->description ? v->description : ""));
	return o;
}

struct json_object *thin_volume_json(struct thinbd *t,
				     const struct thin_volume_conf *conf,
				     unsigned clients)
{
	bool known = conf->device != THIN_NO_DEVICE;

	return volume_json(t, conf, known, thin_time_json(conf->created),
			   known ? clients : 0);
}

struct json_object *thin_unnamed_json(struct thinbd *t, uint32_t device)
{
	char name[20];
	const struct thin_volume_conf unnamed = {.name = name, .device = device};

	snprintf(name, sizeof(name), "#%" PRIu32, device);
	return volume_json(t, &unnamed, false, NULL, 0);
}

struct json_object *thin_named_json(struct thinbd *t, const char *name)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;

	if (thin_registry_find(t->registry, name, &conf, NULL))
		return NULL;
	return thin_volume_json(t, conf, thin_clients_of(t, conf->device));
}

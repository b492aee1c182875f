/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of verbs: what may be asked, and how it is written.  The socket
 * server and the offline command line check requests against it, and usage,
 * help and completion are printed from it, so that they can not disagree.
 */
#include "thinbd.h"

#include <string.h>

#define POSITIONAL (THINBD_POSITIONAL | THINBD_REQUIRED)

#define VOLUME(n, v)                                                                     \
	{                                                                                \
		n, THINBD_KIND_VOLUME, POSITIONAL, 0, v, NULL, "a volume"                \
	}
#define NEW_NAME(n, v)                                                                   \
	{                                                                                \
		n, THINBD_KIND_NAME, POSITIONAL, 0, v, NULL, "a new name"                \
	}
#define FLAG(n, h)                                                                       \
	{                                                                                \
		n, THINBD_KIND_FLAG, 0, 0, NULL, NULL, h                                 \
	}
#define OPTION(n, k, v, h)                                                               \
	{                                                                                \
		n, THINBD_KIND_##k, 0, 0, v, NULL, h                                     \
	}
#define CHOICE(n, c, h)                                                                  \
	{                                                                                \
		n, THINBD_KIND_CHOICE, 0, 0, c, c, h                                     \
	}
#define FRONT_FLAG(n, h)                                                                 \
	{                                                                                \
		n, THINBD_KIND_FLAG, THINBD_FRONT_ONLY, 0, NULL, NULL, h                 \
	}
#define POSITION(n, k, v, h)                                                             \
	{                                                                                \
		n, THINBD_KIND_##k, POSITIONAL, 0, v, NULL, h                            \
	}

static const struct thinbd_param init_params[] = {
	{"data_size", THINBD_KIND_SIZE, THINBD_REQUIRED, 0, "SIZE", NULL,
	 "of the data device"},
	OPTION("block_size", SIZE, "SIZE", "of a data block (64K)"),
	OPTION("metadata_size", SIZE, "SIZE", "of the metadata (from the data's size)"),
	OPTION("data", ORIGIN, "PATH", "the data device: file, block device or NBD URI"),
	OPTION("metadata", PATH, "PATH", "the metadata: file or block device"),
	{"set", THINBD_KIND_SETTING, 0, 1, "KEY=VALUE", NULL, "a key of pool.conf"},
	FLAG("force", "use a device that holds something"),
	FLAG("if_not_exists", "a pool that is there already is success"),
};

static const struct thinbd_param create_params[] = {
	{"names", THINBD_KIND_NAME, POSITIONAL, 1, "NAME", NULL,
	 "a new name; several are made together, all alike"},
	OPTION("size", SIZE, "SIZE", "of the volume (the origin's)"),
	OPTION("origin", ORIGIN, "ORIGIN", "what shows where nothing was written"),
	FLAG("readonly", "refuse writes"),
	OPTION("description", TEXT, "TEXT", "one line about it"),
	OPTION("reserve", SIZE, "SIZE", "of the pool that is kept for it"),
	FLAG("if_not_exists", "a volume that is there already is success"),
};

static const struct thinbd_param snapshot_params[] = {
	{"pairs", THINBD_KIND_TEXT, POSITIONAL, 2, "SOURCE NAME", NULL,
	 "a volume, and its snapshot's name"},
	FLAG("readonly", "refuse writes (what a name with @ does anyhow)"),
	FLAG("writable", "take writes"),
	FLAG("if_not_exists", "snapshots that are there already are success"),
};

static const struct thinbd_param delete_params[] = {
	{"names", THINBD_KIND_VOLUME, POSITIONAL, 1, "NAME", NULL, "a volume"},
	FLAG("dry_run", "only say what it would free"),
	FLAG("force", "even while a client is connected"),
	FLAG("if_exists", "a volume that is not there is success"),
};

static const struct thinbd_param rename_params[] = {
	VOLUME("old", "OLD"),
	NEW_NAME("new", "NEW"),
};

static const struct thinbd_param set_params[] = {
	VOLUME("name", "NAME"),
	{"settings", THINBD_KIND_SETTING, POSITIONAL, 1, "KEY=VALUE", NULL,
	 "readonly, description, origin or reserve"},
	FLAG("force", "take another origin, or one that has changed"),
};

static const struct thinbd_param resize_params[] = {
	VOLUME("name", "NAME"),
	POSITION("size", SIZE, "SIZE", "the new size"),
	FLAG("force", "shrink also where mapped blocks go"),
};

static const struct thinbd_param rollback_params[] = {
	VOLUME("name", "NAME"),
	VOLUME("snapshot", "SNAPSHOT"),
};

static const struct thinbd_param flatten_params[] = {
	VOLUME("name", "NAME"),
	OPTION("rate", RATE, "SIZE/s", "no faster than this"),
	FRONT_FLAG("background", "return when it has begun, and let it go on"),
};

static const struct thinbd_param list_params[] = {
	{"names", THINBD_KIND_VOLUME, THINBD_POSITIONAL, 1, "NAME", NULL, "only these"},
	FRONT_FLAG("tree", "draw who is whose snapshot"),
	FRONT_FLAG("watch", "repeat until interrupted"),
};

static const struct thinbd_param name_params[] = {VOLUME("name", "NAME")};

static const struct thinbd_param diff_params[] = {
	VOLUME("old", "OLD"),
	VOLUME("new", "NEW"),
};

static const struct thinbd_param status_params[] = {
	FLAG("dm", "dm-thin's own status line"),
	FRONT_FLAG("watch", "repeat until interrupted"),
};

static const struct thinbd_param grow_params[] = {
	OPTION("data_size", SIZE, "SIZE", "of the data device"),
	OPTION("metadata_size", SIZE, "SIZE", "of the metadata"),
};

static const struct thinbd_param check_params[] = {
	FLAG("repair", "repair what can be repaired"),
	FLAG("force", "with --repair: also where volumes lose what can not be read"),
};

static const struct thinbd_param restore_params[] = {
	{"backup", THINBD_KIND_TEXT, THINBD_POSITIONAL, 0, "BACKUP", NULL,
	 "its name, or a file; else the latest"},
	FLAG("list", "only list those that there are"),
	FLAG("force", "do it; else only what it would do is said"),
};

static const struct thinbd_param dump_params[] = {
	CHOICE("format", "thin|json", "thin_dump's XML, or JSON"),
};

static const struct thinbd_param message_params[] = {
	POSITION("text", TEXT, "TEXT", "as for dmsetup message"),
};

static const struct thinbd_param serve_params[] = {
	{"options", THINBD_KIND_TEXT, THINBD_POSITIONAL | THINBD_FRONT_ONLY, 1,
	 "NBDKIT-OPTION", NULL, "as for nbdkit"},
};

#define VERB(n, flags, params, help)                                                     \
	{                                                                                \
		n, help, flags, params, sizeof(params) / sizeof((params)[0])             \
	}
#define CHANGES THINBD_VERB_CHANGES

static const struct thinbd_verb verbs[] = {
	VERB("init", CHANGES, init_params, "make a pool"),
	VERB("create", CHANGES, create_params, "make thin volumes, all or none"),
	VERB("snapshot", CHANGES, snapshot_params, "make snapshots, all at one instant"),
	VERB("delete", CHANGES, delete_params, "delete volumes, all or none"),
	VERB("rename", CHANGES, rename_params, "give a volume another name"),
	VERB("set", CHANGES, set_params, "change a volume's settings"),
	VERB("resize", CHANGES, resize_params, "grow or shrink a volume"),
	VERB("rollback", CHANGES, rollback_params, "give a volume a snapshot's content"),
	VERB("flatten", CHANGES | THINBD_VERB_LONG, flatten_params,
	     "copy in what is read from the origin, and drop the origin"),
	VERB("list", THINBD_VERB_STREAMS, list_params, "list volumes"),
	VERB("show", 0, name_params, "all about a volume"),
	VERB("map", THINBD_VERB_STREAMS, name_params, "a volume's extents"),
	VERB("diff", THINBD_VERB_STREAMS, diff_params, "where two volumes may differ"),
	VERB("status", 0, status_params, "the state of the pool"),
	VERB("grow", CHANGES, grow_params, "make the pool larger"),
	VERB("check", CHANGES | THINBD_VERB_LONG, check_params, "audit the pool"),
	VERB("restore-metadata", CHANGES | THINBD_VERB_LONG, restore_params,
	     "go back to a backup of the metadata"),
	VERB("dump", THINBD_VERB_STREAMS | THINBD_VERB_TEXT, dump_params,
	     "print the metadata"),
	VERB("message", CHANGES, message_params, "dm-thin's messages"),
	VERB("serve", THINBD_VERB_FRONT, serve_params, "serve the pool with nbdkit"),
};

#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

const struct thinbd_verb *thinbd_verbs(size_t *ret_nr)
{
	*ret_nr = NR_VERBS;
	return verbs;
}

const struct thinbd_verb *thinbd_find_verb(const char *name)
{
	for (size_t i = 0; i < NR_VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

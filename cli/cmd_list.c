/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of volumes: as a table, or as a tree of who is whose snapshot. */
#include "cli.h"
#include "print.h"

#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct column columns[] = {
	{"NAME", false},   {"SIZE", true},    {"MAPPED", true},	 {"EXCLUSIVE", true},
	{"ORIGIN", false}, {"PARENT", false}, {"CLIENTS", true},
};

#define NR_COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void add_row(struct table *t, const char *name, struct json_object *volume)
{
	char size[SIZE_TEXT_MAX];

	table_add(t, name);
	table_add(t, size_of(size, volume, "size"));
	table_add(t, size_of(size, volume, "mapped_bytes"));
	table_add(t, size_of(size, volume, "exclusive_bytes"));
	table_add(t, text_of(volume, "origin"));
	table_add(t, text_of(volume, "parent"));
	table_add(t, text_of(volume, "clients"));
}

/* --- the tree ---------------------------------------------------------------- */

struct lines {
	const char *fork, *last, *down;
};

static const struct lines *tree_lines(void)
{
	static const struct lines drawn = {"├─ ", "└─ ", "│  "};
	static const struct lines typed = {"|- ", "`- ", "|  "};

	return !strcmp(nl_langinfo(CODESET), "UTF-8") ? &drawn : &typed;
}

/*
 * The volumes in the order of the tree.  Parents and children are found by
 * name; a parent that is not in the list, or is in a circle (which no pool
 * should have), leaves its children at the root.  There may be many: each step
 * is taken once for each of them.
 */
struct tree {
	struct json_object *volumes;
	size_t nr;
	/* Indices; nr for none, which is as a parent the root. */
	size_t *parent, *first_child, *next_sibling;
	struct table *table;
};

static struct json_object *volume_at(const struct tree *tree, size_t i)
{
	return json_object_array_get_idx(tree->volumes, i);
}

/* Names to indices. */
static struct json_object *new_index(const struct tree *tree)
{
	struct json_object *index = must_have(json_object_new_object());

	for (size_t i = 0; i < tree->nr; i++)
		json_object_object_add(index, text_of(volume_at(tree, i), "name"),
				       must_have(json_object_new_uint64(i)));
	return index;
}

static void find_parents(struct tree *tree)
{
	struct json_object *index = new_index(tree);

	for (size_t i = 0; i < tree->nr; i++) {
		const char *name = text_of(volume_at(tree, i), "parent");

		tree->parent[i] = name && json_object_object_get_ex(index, name, NULL)
					  ? number_of(index, name)
					  : tree->nr;
	}
	json_object_put(index);
}

/* Upwards from each, as far as nobody came before: who meets himself is in one. */
static void cut_circles(struct tree *tree)
{
	size_t *came = must_have(calloc(tree->nr + 1, sizeof(*came)));

	for (size_t i = 0; i < tree->nr; i++) {
		size_t at = i;

		for (; at != tree->nr && !came[at]; at = tree->parent[at])
			came[at] = i + 1;
		if (at != tree->nr && came[at] == i + 1)
			tree->parent[at] = tree->nr;
	}
	free(came);
}

/* Backwards, so that children stand in the order of the list. */
static void find_children(struct tree *tree)
{
	for (size_t i = 0; i <= tree->nr; i++)
		tree->first_child[i] = tree->nr;
	for (size_t i = tree->nr; i-- > 0;) {
		size_t parent = tree->parent[i];

		tree->next_sibling[i] = tree->first_child[parent];
		tree->first_child[parent] = i;
	}
}

/* @stem: what stands before the children of @parent. */
static void add_children(struct tree *tree, size_t parent, const char *stem)
{
	const struct lines *lines = tree_lines();
	bool root = parent == tree->nr;
	size_t next;

	for (size_t i = tree->first_child[parent]; i != tree->nr; i = next) {
		struct json_object *volume = volume_at(tree, i);
		char *name, *below;
		bool last;

		next = tree->next_sibling[i];
		last = next == tree->nr;
		name = made_text("%s%s%s", stem,
				 root ? "" : (last ? lines->last : lines->fork),
				 text_of(volume, "name"));
		below = made_text("%s%s", stem, root ? "" : (last ? "   " : lines->down));
		add_row(tree->table, name, volume);
		add_children(tree, i, below);
		free(name);
		free(below);
	}
}

static void add_tree(struct tree *tree)
{
	size_t nr = tree->nr;
	size_t *room = must_have(calloc(3 * (nr + 1), sizeof(*room)));

	tree->parent = room;
	tree->first_child = room + nr + 1;
	tree->next_sibling = room + 2 * (nr + 1);
	find_parents(tree);
	cut_circles(tree);
	find_children(tree);
	add_children(tree, nr, "");
	free(room);
}

/* --- */

static void print_list(const struct cli *c, struct json_object *volumes)
{
	struct tree tree = {.volumes = volumes, .nr = json_object_array_length(volumes)};

	tree.table = table_new(columns, NR_COLUMNS);
	if (flag_of(c->front, "tree"))
		add_tree(&tree);
	for (size_t i = 0; i < tree.nr && !flag_of(c->front, "tree"); i++)
		add_row(tree.table, text_of(volume_at(&tree, i), "name"),
			volume_at(&tree, i));
	table_print(tree.table);
	table_free(tree.table);
}

const struct command cli_list = {.verb = "list", .print = print_list};

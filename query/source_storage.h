/* source_storage.h - series from the store. */
#ifndef PLUMBAGO_QUERY_SOURCE_STORAGE_H
#define PLUMBAGO_QUERY_SOURCE_STORAGE_H

#include "query/source.h"

struct storage;

/* A source over ST, which must outlive it. Use it only between storage_enter() and storage_leave(). */
struct source source_storage(struct storage *st);

#endif

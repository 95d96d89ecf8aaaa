/*
 * insert.c: rows of Datums into a table, a batch at once, as COPY inserts them: routed to partitions, defaults filled in,
 * checked, one visit of the heap for many rows, indexes, triggers.  An INSERT from arrays would cost a tuplestore a column.
 *
 * Memory: everything lives in the executor state's context and goes with it at the end of the call.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "insert.h"

#define BUFFERED_MAX 256

/* A column that the rows do not give and that has a default. */
typedef struct Default
{
	int			at;				/* attribute, from 0 */
	ExprState  *expression;
} Default;

typedef struct Target
{
	MemoryContext caller;
	EState	   *estate;
	ResultRelInfo *root;
	ModifyTableState *routing_state;
	PartitionTupleRouting *routing; /* NULL: not partitioned */
	TransitionCaptureState *capture;	/* NULL: no trigger asks for the new rows as a table */
	TupleTableSlot *slot;		/* a row as the table has it */
	int		   *places;			/* of the given columns: attribute, from 0 */
	Default    *defaults;
	int			default_count;

	/* Rows that wait for the one relation they go to. */
	ResultRelInfo *leaf;
	TupleConversionMap *map;	/* from the table's row to the leaf's; NULL: alike */
	TupleTableSlot **slots;
	int			slot_count;
	int			buffered;
} Target;

/* Finds the named columns, each sought from behind the last on: they are listed in the table's order. */
static int *
places_of(Relation relation, const char *columns, int column_count)
{
	TupleDesc	desc = RelationGetDescr(relation);
	int		   *places = palloc(sizeof(int) * column_count);
	int			at = 0;

	for (int c = 0; c < column_count; c++)
	{
		size_t		length = strcspn(columns, " ");
		int			tried = 0;

		for (;; at = (at + 1) % desc->natts, tried++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, at);

			if (tried == desc->natts)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("relation \"%s\" has no column \"%.*s\"", RelationGetRelationName(relation), (int) length,
								columns),
						 errhint("ALTER EXTENSION postback UPDATE brings the tables to the library's version.")));
			if (!attribute->attisdropped && strncmp(NameStr(attribute->attname), columns, length) == 0 &&
				NameStr(attribute->attname)[length] == '\0')
				break;
		}
		places[c] = at;
		at = (at + 1) % desc->natts;
		columns += length;
		columns += strspn(columns, " ");
	}
	return places;
}

static bool
is_given(const Target *target, int column_count, int at)
{
	for (int c = 0; c < column_count; c++)
		if (target->places[c] == at)
			return true;
	return false;
}

static void
defaults_prepare(Target *target, Relation relation, int column_count)
{
	TupleDesc	desc = RelationGetDescr(relation);

	target->defaults = palloc(sizeof(Default) * desc->natts);
	for (int at = 0; at < desc->natts; at++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, at);
		Node	   *expression;

		if (attribute->attisdropped || !attribute->atthasdef || attribute->attgenerated != '\0' ||
			is_given(target, column_count, at))
			continue;
		expression = build_column_default(relation, at + 1);
		if (expression == NULL)
			continue;
		target->defaults[target->default_count].at = at;
		target->defaults[target->default_count].expression = ExecPrepareExpr((Expr *) expression, target->estate);
		target->default_count++;
	}
}

/* What an INSERT by the same user would be refused for. */
static void
check_allowed(Relation relation)
{
	AclResult	allowed = pg_class_aclcheck(RelationGetRelid(relation), GetUserId(), ACL_INSERT);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_TABLE, RelationGetRelationName(relation));
	if (check_enable_rls(RelationGetRelid(relation), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security keeps \"%s\" from inserting into \"%s\"",
						GetUserNameFromId(GetUserId(), false), RelationGetRelationName(relation)),
				 errhint("The extension's functions run as its owner, who must own the tables too.")));
	PreventCommandIfReadOnly("INSERT");
}

static void
target_open(Target *target, const char *table, const char *columns, int column_count, bool speculative)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid("postback", false));
	Relation	relation = table_open(relid, RowExclusiveLock);

	memset(target, 0, sizeof(*target));
	check_allowed(relation);
	target->estate = CreateExecutorState();
	target->caller = MemoryContextSwitchTo(target->estate->es_query_cxt);
	target->estate->es_output_cid = GetCurrentCommandId(true);
	target->estate->es_snapshot = GetActiveSnapshot();
	target->root = makeNode(ResultRelInfo);
	InitResultRelInfo(target->root, relation, 0, NULL, 0);
	target->estate->es_opened_result_relations = list_make1(target->root);
	target->slot = table_slot_create(relation, NULL);
	target->places = places_of(relation, columns, column_count);
	defaults_prepare(target, relation, column_count);
	target->slots = palloc0(sizeof(TupleTableSlot *) * BUFFERED_MAX);
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		target->routing_state = makeNode(ModifyTableState);
		target->routing_state->ps.state = target->estate;
		target->routing_state->operation = CMD_INSERT;
		target->routing_state->mt_nrels = 1;
		target->routing_state->resultRelInfo = target->root;
		target->routing_state->rootResultRelInfo = target->root;
		target->routing = ExecSetupPartitionTupleRouting(target->estate, relation);
	}
	else
		ExecOpenIndices(target->root, speculative);
	AfterTriggerBeginQuery();
	target->capture = MakeTransitionCaptureState(relation->trigdesc, RelationGetRelid(relation), CMD_INSERT);
	ExecBSInsertTriggers(target->estate, target->root);
}

static void
target_close(Target *target)
{
	Relation	relation = target->root->ri_RelationDesc;

	ExecASInsertTriggers(target->estate, target->root, target->capture);
	AfterTriggerEndQuery(target->estate);
	if (target->routing != NULL)
		ExecCleanupTupleRouting(target->routing_state, target->routing);
	ExecCloseResultRelations(target->estate);
	ExecResetTupleTable(target->estate->es_tupleTable, false);
	for (int i = 0; i < target->slot_count; i++)
		ExecDropSingleTupleTableSlot(target->slots[i]);
	ExecDropSingleTupleTableSlot(target->slot);
	table_close(relation, NoLock);
	MemoryContextSwitchTo(target->caller);
	FreeExecutorState(target->estate);
	CommandCounterIncrement();
}

/* Row number row of column-major values, into the table's own slot. */
static void
fill_slot(Target *target, const InsertRows *rows, int row)
{
	TupleTableSlot *slot = target->slot;
	ExprContext *econtext = GetPerTupleExprContext(target->estate);
	MemoryContext old;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int c = 0; c < rows->column_count; c++)
	{
		int			from = c * rows->capacity + row;

		slot->tts_values[target->places[c]] = rows->values[from];
		slot->tts_isnull[target->places[c]] = rows->nulls[from];
	}
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));
	for (int i = 0; i < target->default_count; i++)
	{
		const Default *d = &target->defaults[i];

		slot->tts_values[d->at] = ExecEvalExpr(d->expression, econtext, &slot->tts_isnull[d->at]);
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
}

/* Writes the rows that wait. The row at hand may still have its defaults in the memory per tuple, which stays as it is. */
static void
flush(Target *target)
{
	ResultRelInfo *leaf = target->leaf;
	bool		indexed = leaf != NULL && leaf->ri_NumIndices > 0;
	bool		triggered = target->capture != NULL ||
		(leaf != NULL && leaf->ri_TrigDesc != NULL && leaf->ri_TrigDesc->trig_insert_after_row);

	if (target->buffered == 0)
		return;
	table_multi_insert(leaf->ri_RelationDesc, target->slots, target->buffered, target->estate->es_output_cid, 0, NULL);
	for (int i = 0; i < target->buffered; i++)
	{
		List	   *recheck = NIL;

		if (indexed)
			recheck = insert_index_tuples(leaf, target->slots[i], target->estate, false, NULL);
		if (triggered)
			ExecARInsertTriggers(target->estate, leaf, target->slots[i], recheck, target->capture);
		ExecClearTuple(target->slots[i]);
	}
	target->buffered = 0;
}

/* Makes leaf the relation that rows wait for: those of another are written first. */
static void
choose_leaf(Target *target, ResultRelInfo *leaf)
{
	if (leaf == target->leaf)
		return;
	if (leaf->ri_FdwRoutine != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("partition \"%s\" of \"%s\" is a foreign table", RelationGetRelationName(leaf->ri_RelationDesc),
						RelationGetRelationName(target->root->ri_RelationDesc)),
				 errhint("Attach foreign partitions for times that are over only.")));
	flush(target);
	for (int i = 0; i < target->slot_count; i++)
		ExecDropSingleTupleTableSlot(target->slots[i]);
	target->slot_count = 0;
	target->leaf = leaf;
	target->map = leaf == target->root ? NULL :
		convert_tuples_by_name(RelationGetDescr(target->root->ri_RelationDesc), RelationGetDescr(leaf->ri_RelationDesc));
}

/* The table's row as a row of the leaf, in the next slot of the buffer. */
static TupleTableSlot *
leaf_slot(Target *target)
{
	TupleTableSlot *slot;

	if (target->buffered == target->slot_count)
		target->slots[target->slot_count++] = table_slot_create(target->leaf->ri_RelationDesc, NULL);
	slot = target->slots[target->buffered];
	if (target->map != NULL)
		execute_attr_map_slot(target->map->attrMap, target->slot, slot);
	else
	{
		int			natts = slot->tts_tupleDescriptor->natts;

		ExecClearTuple(slot);
		memcpy(slot->tts_values, target->slot->tts_values, sizeof(Datum) * natts);
		memcpy(slot->tts_isnull, target->slot->tts_isnull, sizeof(bool) * natts);
		ExecStoreVirtualTuple(slot);
	}
	slot->tts_tableOid = RelationGetRelid(target->leaf->ri_RelationDesc);
	return slot;
}

/* All that an INSERT does to a row before it stores it; false: a trigger will not have it. */
static bool
row_ready(Target *target, ResultRelInfo *leaf, TupleTableSlot *slot)
{
	TupleConstr *constraints = RelationGetDescr(leaf->ri_RelationDesc)->constr;
	bool		triggered = leaf->ri_TrigDesc != NULL && leaf->ri_TrigDesc->trig_insert_before_row;

	if (triggered && !ExecBRInsertTriggers(target->estate, leaf, slot))
		return false;
	if (constraints != NULL && constraints->has_generated_stored)
		ExecComputeStoredGenerated(leaf, target->estate, slot, CMD_INSERT);
	if (constraints != NULL)
		ExecConstraints(leaf, slot, target->estate);
	if (triggered && leaf != target->root)
		(void) ExecPartitionCheck(leaf, slot, target->estate, true);
	/* The values must stay until the row is written: what triggers and defaults made does not of itself. */
	if (triggered || target->default_count > 0 || (constraints != NULL && constraints->has_generated_stored))
		ExecMaterializeSlot(slot);
	return true;
}

void
insert_rows(const char *table, const char *columns, const InsertRows *rows)
{
	Target		target;

	target_open(&target, table, columns, rows->column_count, false);
	for (int row = 0; row < rows->count; row++)
	{
		TupleTableSlot *slot;

		ResetPerTupleExprContext(target.estate);
		fill_slot(&target, rows, row);
		choose_leaf(&target, target.routing == NULL ? target.root :
					ExecFindPartition(target.routing_state, target.root, target.routing, target.slot, target.estate));
		slot = leaf_slot(&target);
		if (row_ready(&target, target.leaf, slot) && ++target.buffered == BUFFERED_MAX)
			flush(&target);
	}
	flush(&target);
	target_close(&target);
}

/*
 * In a transaction that sees one moment only, a row that was committed since must not be taken for one that is there: as
 * INSERT ... ON CONFLICT DO NOTHING has it.
 */
static void
check_visible(Target *target, ItemPointer tid)
{
	Relation	relation = target->root->ri_RelationDesc;
	TupleTableSlot *slot;
	bool		is_null;

	if (!IsolationUsesXactSnapshot())
		return;
	slot = table_slot_create(relation, NULL);
	if (!table_tuple_fetch_row_version(relation, tid, SnapshotAny, slot))
		elog(ERROR, "failed to fetch conflicting tuple of \"%s\"", RelationGetRelationName(relation));
	if (!table_tuple_satisfies_snapshot(relation, slot, target->estate->es_snapshot) &&
		!TransactionIdIsCurrentTransactionId(DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &is_null))))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Stores one row unless another with its unique key is there or on its way, which is waited for.
 */
static bool
insert_unless_exists(Target *target, TupleTableSlot *slot)
{
	Relation	relation = target->root->ri_RelationDesc;

	for (;;)
	{
		ItemPointerData other;
		bool		conflict = false;
		uint32		token;
		List	   *recheck;

		ItemPointerSetInvalid(&slot->tts_tid);
		if (!check_index_constraints(target->root, slot, target->estate, &other))
		{
			check_visible(target, &other);
			return false;
		}
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(relation, slot, target->estate->es_output_cid, 0, NULL, token);
		recheck = insert_index_tuples(target->root, slot, target->estate, true, &conflict);
		table_tuple_complete_speculative(relation, slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!conflict)
		{
			ExecARInsertTriggers(target->estate, target->root, slot, recheck, target->capture);
			return true;
		}
		list_free(recheck);
		CHECK_FOR_INTERRUPTS();
	}
}

int
insert_rows_unless_exist(const char *table, const char *columns, const InsertRows *rows, bool *inserted)
{
	Target		target;
	int			count = 0;

	target_open(&target, table, columns, rows->column_count, true);
	Assert(target.routing == NULL);
	for (int row = 0; row < rows->count; row++)
	{
		ResetPerTupleExprContext(target.estate);
		fill_slot(&target, rows, row);
		inserted[row] = row_ready(&target, target.root, target.slot) && insert_unless_exists(&target, target.slot);
		count += inserted[row];
	}
	target_close(&target);
	return count;
}

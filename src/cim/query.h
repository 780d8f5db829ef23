/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_QUERY_H
#define CIM_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cim/instance.h"
#include "cim/provider.h"

/* WQL, src:[WMI query language reference; contract.md E.3]:
 *   SELECT * | column, ... FROM class [WHERE condition]
 *   ASSOCIATORS OF {path} [WHERE AssocClass = c ResultClass = c Role = r ResultRole = r]
 *   REFERENCES OF {path} [WHERE ResultClass = c Role = r]
 * Conditions: = <> != < > <= >= LIKE, IS [NOT] NULL, ISA, AND OR NOT, parentheses. Comparing with
 * NULL by = or <> is IS [NOT] NULL; any other comparison with NULL is unknown and does not select.
 * Columns may also be properties that every instance has (enum cim_syscol); __CLASS and __THIS ISA
 * stand in conditions, too. Strings compare without case. LIKE knows % _ [a-f] [^a]. Keywords in
 * any case. */

enum {
    CIM_QUERY_LEN_MAX = 32768,
    CIM_QUERY_NODES_MAX = 1024,
    CIM_QUERY_DEPTH_MAX = 64,
    CIM_QUERY_COLS_MAX = 256
};

enum cim_query_kind { CIM_Q_SELECT, CIM_Q_ASSOCIATORS, CIM_Q_REFERENCES, CIM_Q_EVENT };

/* What happened to an instance; bits of a set. */
enum cim_event_kind {
    CIM_EV_CREATED = 1 << 0,
    CIM_EV_MODIFIED = 1 << 1,
    CIM_EV_DELETED = 1 << 2,
};
/* How a query, and then its answers, name events. */
enum cim_event_style { CIM_EVENTS_WMI /* __InstanceModificationEvent */, CIM_EVENTS_CIM };

/* Columns of what an instance is, not has. src:[WMI, "WMI system properties"] */
#define CIM_SYSTEM_COLUMNS(A)        \
    A(0, CLASS, "__CLASS")           \
    A(1, SUPERCLASS, "__SUPERCLASS") \
    A(2, NAMESPACE, "__NAMESPACE")   \
    A(3, SERVER, "__SERVER")         \
    A(4, RELPATH, "__RELPATH")       \
    A(5, PATH, "__PATH")
enum cim_syscol {
#define A(bit, n, text) CIM_SYS_##n = 1 << (bit),
    CIM_SYSTEM_COLUMNS(A)
#undef A
};

/* Of a condition. */
enum cim_op {
    CIM_OP_AND,
    CIM_OP_OR,
    CIM_OP_NOT,
    CIM_OP_EQ,
    CIM_OP_NE,
    CIM_OP_LT,
    CIM_OP_GT,
    CIM_OP_LE,
    CIM_OP_GE,
    CIM_OP_LIKE,
    CIM_OP_IS_NULL,
    CIM_OP_NOT_NULL,
    CIM_OP_ISA,
};

/* One node of a condition: AND, OR and NOT refer to other nodes, the rest compares a property with
 * a constant. */
struct cim_node {
    enum cim_op op;
    size_t left, right;     /* nodes; NOT has only the left one */
    bool previous;          /* events: of PreviousInstance, not of TargetInstance */
    char *prop;             /* "__CLASS" stands for the name of the class */
    char *text;             /* the constant as written, unquoted */
    struct cim_value value; /* the constant in the type of the property; NULL for LIKE and ISA */
};

struct cim_query {
    enum cim_query_kind kind;
    const struct cim_class *cls; /* SELECT; EVENT: of the instances, NULL any */
    char **cols;                 /* SELECT; NULL: all */
    size_t n_cols;
    unsigned sys; /* SELECT: set of enum cim_syscol that are among the columns */
    struct cim_node *nodes;
    size_t n_nodes;
    bool has_where;
    size_t root;           /* node of the whole condition */
    struct cim_path *path; /* ASSOCIATORS, REFERENCES */
    char *assoc_class, *result_class, *role, *result_role;
    unsigned events; /* EVENT: set of enum cim_event_kind */
    enum cim_event_style style;
    uint64_t within_ms; /* EVENT: how often to look for changes that nobody tells; 0 not given */
};

/* cim_query_parse() - read a query and check it against the classes of @ns (NULL: any).
 * Statuses: BAD_QUERY with the position in @err, NO_CLASS, NO_NAMESPACE. Thread: any. */
enum cim_status cim_query_parse(const char *ns, const char *text, struct cim_query **ret,
                                struct vr_err *err);
/* cim_query_parse_event() - the same for events:
 *   SELECT * FROM __InstanceCreationEvent | __InstanceModificationEvent | __InstanceDeletionEvent |
 *     __InstanceOperationEvent [WITHIN seconds] [WHERE TargetInstance ISA 'class' AND condition]
 * and with CIM_InstCreation, CIM_InstModification, CIM_InstDeletion, CIM_InstIndication, where
 * SourceInstance is the instance. Conditions are those of above over TargetInstance.Property and
 * PreviousInstance.Property. The column list chooses nothing: events always come whole. */
enum cim_status cim_query_parse_event(const char *ns, const char *text, struct cim_query **ret,
                                      struct vr_err *err);
/* cim_query_free() - NULL is fine. */
void cim_query_free(struct cim_query *q);
VR_DEFINE_CLEANUP(struct cim_query, cim_query_free)
/* cim_query_matches() - does the SELECT take this instance? */
bool cim_query_matches(const struct cim_query *q, const struct cim_inst *in);
/* cim_query_takes() - does the event query take this one? @previous: NULL unless modified. */
bool cim_query_takes(const struct cim_query *q, enum cim_event_kind kind,
                     const struct cim_inst *target, const struct cim_inst *previous);
/* cim_project() - mark every property that is none of these @n, also keys. Names of other
 * properties are ignored. */
void cim_project(char *const *names, size_t n, struct cim_inst *in);
/* cim_system_text() - what stands in such a column; NULL for NULL. @host: name that stands in
 * paths. The caller frees. */
char *cim_system_text(const struct cim_inst *in, enum cim_syscol col, const char *host);
/* cim_like() - does @s match the pattern? ASCII letters compare without case; what stands for one
 * character takes one of UTF-8, bytes that are none count as one each. Takes time linear in both
 * at most squared. */
bool cim_like(const char *s, const char *pattern);

#endif

/*
 * schema.c - names of columns; the rest of a schema is its dialect's.
 */
#include "schema.h"

const char *vindex__sql_hidden_name(enum hidden_column column)
{
    static const char *const names[N_HIDDEN] = {"query",    "k",          "recall", "score",
                                                "distance", "similarity", "arg",    ""};
    return names[column];
}

const struct schema_column *vindex__sql_vector_column(const struct schema *schema, int number)
{
    const struct schema_column *column = schema->columns;
    while (column->kind != COLUMN_VECTOR || column->number != number)
        column++;
    return column;
}

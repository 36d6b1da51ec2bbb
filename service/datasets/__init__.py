"""The data sets that `affectstream prepare` reads, turned into crops and mel columns by the serving perception."""

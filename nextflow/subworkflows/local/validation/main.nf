// Checks the user's parameters and samplesheet before any task starts, against the schemas derived from the contract; no plugin needed.

/** Return the parameters that the schema describes, by name. */
def schema_properties() {
    def schema = new groovy.json.JsonSlurper().parse(file("${projectDir}/nextflow_schema.json").toFile())
    return schema['$defs'].values().collectEntries { section -> section.properties }
}

/** Return what is wrong with one value, or null. Covers the JSON Schema keywords that the schemas use. */
def problem_with(value, schema) {
    def text = value.toString()
    def types = [schema.type].flatten()
    def is_number = text ==~ /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
    if (types == ['boolean'] && !(text in ['true', 'false'])) {
        return 'must be true or false'
    }
    if (types == ['integer'] && !(text ==~ /[+-]?\d+/)) {
        return 'must be a whole number'
    }
    if (types == ['number'] && !is_number) {
        return 'must be a number'
    }
    if (schema['enum'] && !(text in schema['enum'])) {
        return "must be one of ${schema['enum'].join(', ')}"
    }
    if (is_number && ('integer' in types || 'number' in types)) {
        def number = new BigDecimal(text)
        if (schema.minimum != null && number < schema.minimum) {
            return "must be at least ${schema.minimum}"
        }
        if (schema.maximum != null && number > schema.maximum) {
            return "must be at most ${schema.maximum}"
        }
        if (schema.exclusiveMinimum != null && number <= schema.exclusiveMinimum) {
            return "must be above ${schema.exclusiveMinimum}"
        }
        if (schema.exclusiveMaximum != null && number >= schema.exclusiveMaximum) {
            return "must be below ${schema.exclusiveMaximum}"
        }
    }
    else if (schema.pattern && !(text =~ schema.pattern)) {
        return schema.errorMessage ?: schema.pattern == "^[^']+\$" ? 'must be given, without single quotes' : "does not match ${schema.pattern}"
    }
    return null
}

/** Reduce a parameter's name to what survives mistyping: Nextflow itself turns --k-cell into kCell. */
def plain_name(name) {
    return name.toString().toLowerCase().replaceAll(/[-_]/, '')
}

/** Return the problems with the parameters: unknown names and invalid values, one line each. */
def parameter_problems(given) {
    def known = schema_properties()
    def unknown = given.keySet()
        .findAll { name -> !(name in known.keySet()) }
        .collectEntries { name -> [plain_name(name), name] }
        .collect { key, name ->
            def meant = known.keySet().find { candidate -> plain_name(candidate) == key }
            "unknown parameter --${name}${meant ? ": did you mean --${meant}?" : ' (nextflow_schema.json lists all parameters)'}"
        }
    def wrong = known.collectMany { name, schema ->
        def value = given[name]
        def problem = value == null ? null : problem_with(value, schema)
        problem ? ["--${name} ${value}: ${problem}"] : []
    }
    return unknown + wrong
}

/** Find the file of a path in the samplesheet: a relative path is looked up in the launch folder, then in the samplesheet's. */
def located(path, sheet) {
    def here = file(path)
    return here.exists() || path.startsWith('/') || path.contains('://') ? here : sheet.parent.resolve(path)
}

/** Return the samples and the problems of the samplesheet: a list of [meta, path], and one line per problem. */
def read_samplesheet(path, defaults) {
    if (!path) {
        return [[], ['--input is missing: give a samplesheet, a CSV file with the columns sample and path']]
    }
    def sheet = file(path)
    if (!sheet.exists()) {
        return [[], ["--input ${path}: no such file"]]
    }
    def schema = new groovy.json.JsonSlurper().parse(file("${projectDir}/assets/schema_input.json").toFile())
    def columns = schema.items.properties
    // Spreadsheet programs put a byte order mark before the first name.
    def first_line = sheet.text.replace('\uFEFF', '').readLines().find { line -> line.trim() } ?: ''
    def header = first_line.split(',').collect { name -> name.trim().replaceAll('^"|"$', '') }
    def missing = schema.items.required.findAll { name -> !(name in header) }
    if (missing) {
        return [[], missing.collect { name -> "${sheet.name}: column ${name} is missing (available: ${header.join(', ')})" }]
    }
    header.findAll { name -> !(name in columns.keySet()) }.each { name -> log.warn("${sheet.name}: column ${name} is ignored") }
    def rows = sheet.splitCsv(header: header, skip: 1, strip: true, quote: '"').findAll { row -> row.values().any { value -> value } }
    if (!rows) {
        return [[], ["${sheet.name}: contains no samples"]]
    }
    def problems = rows.withIndex().collectMany { row, index ->
        def place = "${sheet.name}, sample ${row.sample ?: "in row ${index + 1}"}"
        columns.collectMany { name, column ->
            def value = row[name]
            if (!value) {
                return name in schema.items.required ? ["${place}: ${name} is missing"] : []
            }
            def problem = problem_with(value, column)
            if (problem) {
                return ["${place}: ${name} ${value} ${problem}"]
            }
            return column.exists && !located(value, sheet).exists() ? ["${place}: ${name} ${value} does not exist"] : []
        }
    }
    def doubled = rows.collect { row -> row.sample }.countBy { name -> name }.findAll { name, count -> name && count > 1 }
    problems += doubled.collect { name, count -> "${sheet.name}, sample ${name}: ${count} samples have this name" }
    if (problems) {
        return [[], problems]
    }
    def samples = rows.collect { row ->
        def own = [
            batch_key: row.batch_key ?: null,
            imputation: row.imputation ?: null,
            imputed_integration: row.imputed_integration ? row.imputed_integration == 'true' : null
        ]
        [[id: row.sample] + defaults + own.findAll { _name, value -> value != null }, located(row.path, sheet)]
    }
    return [samples, []]
}

/** Return the problems that arise only from parameters and samples together, one line each. */
def combination_problems(given, samples, scatter) {
    def methods = samples.collectEntries { meta, _path -> [meta.id, meta.imputation ?: given.imputation] }
    def imputed = samples.findAll { meta, _path -> methods[meta.id] != 'none' }
    def misplaced = schema_properties()
        .findAll { name, schema -> given[name] != null && schema.methods }
        .collectMany { name, schema ->
            imputed
                .findAll { meta, _path -> !(methods[meta.id] in schema.methods) }
                .collect { meta, _path -> "--${name} requires the imputation ${schema.methods.join(' or ')}: sample ${meta.id} has ${methods[meta.id]}" }
        }
    def scattered = scatter ? imputed.findAll { meta, _path -> meta.batch_key } : []
    def unscatterable = scatter && !scattered ? ['--scatter requires a batch_key (in the samplesheet, or --batch_key): no sample has one'] : []
    def others = scattered
        .findAll { _meta, path -> !path.name.endsWith('.h5ad') }
        .collect { meta, path -> "sample ${meta.id}: --scatter requires .h5ad files, not ${path.name}" }
    // Otherwise every batch would run before sccr gather refuses.
    def incomplete = scattered && given.write in ['recovered', 'embedding']
        ? ["--scatter requires the denoised expression: --write denoised or both, not ${given.write}"]
        : []
    return misplaced + unscatterable + others + incomplete
}

/** Report which tasks failed for good, and why, one line each: Nextflow itself only says that it continued. */
def tell_failures(trace) {
    if (!trace.exists()) {
        return
    }
    def last_attempts = trace.splitCsv(header: true, sep: '\t').groupBy { task -> task.name }.values().collect { tasks -> tasks.max { task -> task.attempt as Integer } }
    last_attempts.findAll { task -> task.status == 'FAILED' }.each { task ->
        def said = file("${task.workdir}/.command.err")
        def lines = said.exists() ? said.readLines().findAll { line -> line.trim() } : []
        log.error("${task.name} failed with exit status ${task.exit}: ${lines ? lines[-1] : 'no message'} (work folder: ${task.workdir})")
    }
}

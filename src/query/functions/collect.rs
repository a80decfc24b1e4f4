//! `array_agg` and `string_agg`: DataFusion's, with what PostgreSQL's have beyond them.
//!
//! The items of `array_agg` keep the mark of their type: of jsonb it is a `jsonb[]`. `string_agg`, which sorts its rows itself,
//! does not insist on sorted ones: several calls with other orders go together.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use crate::query::sql_types::{mark_of, plain, renamed};

/// The family.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    [array_agg_udaf(), string_agg_udaf()]
        .map(|base| Arc::new(AggregateUDF::from(Collect { base })))
        .into()
}

/// `array_agg`.
pub(in crate::query) fn array_agg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Collect { base: array_agg_udaf() }))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Collect {
    base: Arc<AggregateUDF>,
}

impl Hash for Collect {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.base.name().hash(state);
    }
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.base.name()
    }

    fn signature(&self) -> &Signature {
        self.base.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.base.inner().return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> DfResult<FieldRef> {
        match fields {
            [field] if mark_of(field).is_some() => {
                Ok(plain(DataType::List(Arc::new(renamed(field, "item", true)))))
            }
            _ => self.base.inner().return_field(fields),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.base.inner().state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let item = marked_item(&args);
        let base = self.base.inner().accumulator(args)?;
        Ok(match item {
            Some(item) => Box::new(Marked { base, item }),
            None => base,
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        marked_item(&args).is_none() && self.base.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.base.inner().create_groups_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> DfResult<Option<Arc<dyn AggregateUDFImpl>>> {
        let base = self.base.as_ref().clone().with_beneficial_ordering(beneficial_ordering)?;
        // `string_agg` sorts in any case.
        Ok(Some(base.map_or(self, |base| Arc::new(Collect { base: Arc::new(base) }))))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Reversed(Arc::new(AggregateUDF::from(self.clone())))
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.base.inner().supports_null_handling_clause()
    }
}

/// The items of a list, where they have a mark.
fn marked_item(args: &AccumulatorArgs) -> Option<FieldRef> {
    let field = &args.expr_fields[0];
    let is_marked =
        matches!(args.return_field.data_type(), DataType::List(_)) && mark_of(field).is_some();
    is_marked.then(|| Arc::new(renamed(field, "item", true)))
}

/// An accumulator whose items are given their mark at the end.
#[derive(Debug)]
struct Marked {
    base: Box<dyn Accumulator>,
    item: FieldRef,
}

impl Accumulator for Marked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.base.update_batch(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let list = self.base.evaluate()?.to_array()?;
        let list = list.as_list::<i32>();
        let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
        let values = Arc::clone(list.values());
        let list = ListArray::try_new(Arc::clone(&self.item), offsets, values, nulls)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn size(&self) -> usize {
        self.base.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.base.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.base.merge_batch(states)
    }
}
